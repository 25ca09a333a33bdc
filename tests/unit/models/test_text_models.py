from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from layerwise.errors import RecipeError, UsageError
from layerwise.models.by_task import TASK_MODELS, Sizes, build_task_model
from layerwise.models.text_average import TextAverage
from layerwise.models.text_bag import hashed
from layerwise.models.text_nb_bag import TextNbBag
from layerwise.models.text_recurrent import TextRecurrent

TASK = "text-classification"
NAMES = list(TASK_MODELS[TASK])
SIZES = Sizes(inputs=50, outputs=3, length=12)
LENGTHS = torch.tensor([7, 1, 4, 2])


def network(name: str, sizes: Sizes = SIZES, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_task_model(TASK, name, sizes, options)


def tokens(lengths: Tensor = LENGTHS, steps: int = 7) -> Tensor:
    drawn = torch.randint(1, SIZES.inputs, (len(lengths), steps), generator=torch.Generator().manual_seed(1))
    return drawn * (torch.arange(steps) < lengths[:, None])


@pytest.mark.parametrize("name", NAMES)
def test_gives_a_logit_for_each_class(name: str) -> None:
    for classes in (2, 5):
        net = network(name, Sizes(50, classes, 12)).eval()
        assert net(tokens(), LENGTHS).shape == (4, classes)


@pytest.mark.parametrize("name", NAMES)
def test_padding_has_no_influence(name: str) -> None:
    """Neither more of it, nor what stands in it, nor the neighbours in the batch."""
    net = network(name).eval()
    with torch.no_grad():
        whole = net(tokens(), LENGTHS)
        junk = tokens() + torch.randint(1, 9, (4, 7)) * (torch.arange(7) >= LENGTHS[:, None])
        longer = torch.cat([junk, torch.randint(1, 50, (4, 5))], dim=1)
        alone = torch.cat(
            [
                net(tokens()[row : row + 1, :length], LENGTHS[row : row + 1])
                for row, length in enumerate(LENGTHS.tolist())
            ]
        )
        assert torch.allclose(net(longer, LENGTHS), whole, atol=1e-6)
        assert torch.allclose(alone, whole, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_padding_gets_no_gradient_and_words_do(name: str) -> None:
    net = network(name).eval()
    net(tokens(), LENGTHS)[:, 0].sum().backward()
    table = {"nb-bag": "weight", "average": "members.bilstm.embedding.weight"}.get(name, "embedding.weight")
    found = net.get_parameter(table).grad
    assert found is not None
    assert found[0].abs().sum() == 0
    assert found[int(tokens()[0, 0])].abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_learns_a_word_that_says_the_class(name: str) -> None:
    net = network(name, Sizes(50, 2, 12))
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(10, 50, (64, 6), generator=generator)
    y = torch.arange(64) % 2
    x[torch.arange(64), torch.randint(0, 6, (64,), generator=generator)] = 5 + y
    lengths = torch.full((64,), 6)
    for module in net.modules():
        if isinstance(module, TextNbBag):
            module.learn([(x, lengths, y)])
    update = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        update.zero_grad()
        nn.functional.cross_entropy(net(x, lengths), y).backward()
        update.step()
    net.eval()
    assert (net(x, lengths).argmax(1) == y).float().mean() > 0.95


def test_the_courses_network_has_the_parameters_that_keras_counts() -> None:
    net = network("lstm", Sizes(inputs=10_000, outputs=2, length=100))
    assert sum(each.numel() for each in net.parameters()) == 10_000 * 128 + 4 * 64 * (128 + 64 + 1) + 65
    assert isinstance(net, TextRecurrent)
    assert (net.recurrent.dropout, net.recurrent.recurrent_dropout, net.pool) == (0.2, 0.2, "last")


def test_two_classes_are_one_sigmoid_unit() -> None:
    net = network("lstm", Sizes(50, 2, 12)).eval()
    assert isinstance(net, TextRecurrent)
    with torch.no_grad():
        logits, z = net(tokens(), LENGTHS), net.linear(net.forward_features(tokens(), LENGTHS))
    assert torch.equal(logits[:, 0], torch.zeros(4)) and torch.equal(logits[:, 1:], z)
    assert torch.allclose(logits.softmax(1)[:, 1:], z.sigmoid())


@pytest.mark.parametrize("pool", ["last", "attention", "mean", "max"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_every_pooling_of_every_kind(kind: str, pool: str) -> None:
    for name in ("lstm", "bilstm"):
        net = network(name, kind=kind, pool=pool, units=[6, 4]).eval()
        more = torch.cat([tokens(), torch.full((4, 3), 9)], dim=1)
        with torch.no_grad():
            assert torch.allclose(net(tokens(), LENGTHS), net(more, LENGTHS), atol=1e-6)


def test_dropped_words_are_the_same_wherever_they_stand() -> None:
    net = network("lstm", embedding_dropout=0.5).train()
    assert isinstance(net, TextRecurrent)
    same = torch.tensor([[4, 7, 4, 7]] * 3)
    torch.manual_seed(0)
    masks = torch.stack([net._kept_words(same)[:, :, 0] for _ in range(20)])  # (draws, 3, 4)
    assert torch.equal(masks[:, :, 0], masks[:, :, 2]) and torch.equal(masks[:, 0], masks[:, 1])
    assert set(masks.unique().tolist()) == {0.0, 2.0}


def test_pairs_spread_evenly_over_buckets() -> None:
    first, second = torch.meshgrid(torch.arange(300), torch.arange(300), indexing="ij")
    found = hashed(first.reshape(1, -1), second.reshape(1, -1), 1000)
    counts = torch.bincount(found.flatten(), minlength=1000)
    assert int(found.min()) >= 0 and int(found.max()) < 1000
    assert int(counts.min()) > 40 and int(counts.max()) < 150  # 90 in the mean
    assert len(set(hashed(torch.tensor([[1, 2]]), torch.tensor([[2, 1]]), 10**9)[0].tolist())) == 2  # order counts


def test_a_bag_looks_at_pairs_and_not_beyond() -> None:
    for name in ("bag", "nb-bag"):
        net = network(name).eval()
        if isinstance(net, TextNbBag):
            nn.init.normal_(net.weight)
        lengths = torch.tensor([4])
        with torch.no_grad():
            first, other = (net(torch.tensor([row]), lengths) for row in ([3, 4, 5, 3], [3, 5, 4, 3]))
            assert not torch.allclose(first, other)
            none = network(name, buckets=0).eval()
            assert torch.allclose(
                none(torch.tensor([[3, 4, 5, 3]]), lengths), none(torch.tensor([[3, 5, 4, 3]]), lengths)
            )


def test_naive_bayes_ratios_are_those_of_the_formula() -> None:
    net = network("nb-bag", Sizes(6, 2, 4), buckets=0)
    assert isinstance(net, TextNbBag)
    x = torch.tensor([[2, 3, 2], [2, 4, 0], [4, 4, 0]])
    net.learn([(x[:2], torch.tensor([3, 2]), torch.tensor([0, 1])), (x[2:], torch.tensor([2]), torch.tensor([1]))])
    counts = torch.tensor([[0, 0], [0, 0], [1, 1], [1, 0], [0, 2], [0, 0]], dtype=torch.float64)  # texts, not tokens
    p = (counts + 1) / (counts + 1).sum(0)
    wanted = (p / p.flip(1)).log() * (counts.sum(1, keepdim=True) > 0)
    assert torch.allclose(net.ratio.double(), wanted, atol=1e-6)


def test_the_average_is_the_mean_of_tempered_probabilities() -> None:
    net = network("average").eval()
    assert isinstance(net, TextAverage)
    net.keep({"nb-bag": 2.0, "bilstm": 0.5})
    with torch.no_grad():
        bilstm, bag = net.members["bilstm"](tokens(), LENGTHS), net.members["nb-bag"](tokens(), LENGTHS)
        wanted = ((bilstm / 0.5).softmax(1) + (bag / 2.0).softmax(1)) / 2
        assert torch.allclose(net(tokens(), LENGTHS).softmax(1), wanted, atol=1e-6)
    assert list(net.members) == ["bilstm", "nb-bag"]


def test_many_classes_share_fewer_buckets() -> None:
    net = network("nb-bag", Sizes(10, 1000, 4))
    assert isinstance(net, TextNbBag) and net.weight.shape == (10 + 4000, 1000)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {"unit": [3]}),
        ("lstm", {"units": []}),
        ("lstm", {"units": [0]}),
        ("gru", {"pool": "sum"}),
        ("bag", {"buckets": -1}),
        ("text-cnn", {"widths": [0]}),
        ("average", {"members": {"average": {}}}),
        ("average", {"members": {}}),
        ("average", {"members": {"lstm": {"pol": "max"}}}),
    ],
)
def test_unusable_options_are_named(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="pol" if "lstm" in str(options) else next(iter(options))):
        network(name, **options)


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(UsageError, match="bilstm"):
        network("bi-lstm")
