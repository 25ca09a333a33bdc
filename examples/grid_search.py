"""`ImageClassifier` in scikit-learn's grid search, on arrays."""

from __future__ import annotations

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from layerwise import ImageClassifier


def main() -> None:
    digits = load_digits()
    images, labels = digits.images[:400] / 16, digits.target[:400]  # (400, 8, 8) in 0..1
    train_images, test_images, train_labels, test_labels = train_test_split(images, labels, random_state=0)

    rates = [{"data": {"size": 18}, "optimizer": {"learning_rate": rate}} for rate in (1e-3, 1e-2)]
    search = GridSearchCV(ImageClassifier("cnn-28", epochs=4), {"recipe": rates}, cv=2)
    search.fit(train_images, train_labels)

    print("best:", search.best_params_["recipe"]["optimizer"], f"cross-validated {search.best_score_:.3f}")
    print(f"on images that took no part in the search: {search.score(test_images, test_labels):.3f}")


if __name__ == "__main__":
    main()
