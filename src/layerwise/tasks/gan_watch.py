"""What goes wrong while a GAN trains: noted, and mended by going back to weights that were good."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from layerwise.engine.loop import Metrics
from layerwise.errors import Diverged

COLLAPSE, NON_FINITE = "collapse", "non-finite"
# Steps skipped in succession after which training ends, and returns to good weights in a stage.
IN_SUCCESSION: Final = 20
RETURNS: Final = 3


@final
class Watch:
    """The alarms of a run, the last good state of the stage under way, and whether to go back to it.

    Attributes:
        alarms: {"stage", "epoch" and "step" of it (counted from 1), "kind", "what", "done"}, in order.
    """

    def __init__(self) -> None:
        self.alarms: list[dict[str, Any]] = []
        self._stage, self._epoch, self._step = "", 1, 0
        self._good: dict[str, Any] = {}
        self._best: float | None = None  # distance of the good state; none for how the stage began
        self._good_epoch = 0
        self._recover, self._returning, self._returns = True, False, 0
        self._in_succession = 0

    def begin(self, stage: str, state: Mapping[str, Any], *, recover: bool) -> None:
        """Watch another stage, which begins with `state`; `recover` says whether to go back after a collapse."""
        self._recover = recover
        self._stage, self._epoch, self._step = stage, 1, 0
        self._good, self._best, self._good_epoch = copy.deepcopy(dict(state)), None, 0
        self._returning, self._returns, self._in_succession = False, 0, 0

    def passed(self) -> None:
        """A step was taken."""
        self._step += 1
        self._in_succession = 0

    def skipped(self, error: Diverged) -> None:
        """A step was left out, as its loss or gradient was not finite; one alarm an epoch.

        Raises:
            Diverged: many in succession were.
        """
        self._step += 1
        self._in_succession += 1
        if self._in_succession >= IN_SUCCESSION:
            came = f"{IN_SUCCESSION} steps in succession had to be left out, the last for this: {error.came}"
            raise Diverged(came, fix=error.fix)
        alarm = self._of_this_epoch(NON_FINITE) or self._raise(NON_FINITE, error.came, steps=0)
        alarm["steps"] += 1
        alarm["done"] = f"left out {alarm['steps']} step{'s' * (alarm['steps'] > 1)}; the weights stayed as they were"

    def judged(self, metrics: Metrics, kind: str, what: str | None, state: Callable[[], Mapping[str, Any]]) -> None:
        """An epoch is over.

        Args:
            metrics: of its samples; "distance" is one.
            kind: of the alarm, where there is one.
            what: is wrong, in a sentence; none for no alarm.
            state: gives the state, which is kept where it is the best of the stage without an alarm.
        """
        if what is not None:
            alarm = self._raise(kind, what)
            alarm["done"] = "nothing yet: training ended with this epoch; the best epoch is kept"
            self._returning = True
        elif self._best is None or metrics["distance"] < self._best:
            self._good, self._best, self._good_epoch = copy.deepcopy(dict(state())), metrics["distance"], self._epoch
        self._epoch, self._step = self._epoch + 1, 0

    def due(self) -> Mapping[str, Any] | None:
        """The state to go back to before the next step, once after each collapse; none where there is nothing to do."""
        if not self._returning:
            return None
        self._returning = False
        if not self._recover or self._returns >= RETURNS:
            why = f"rates were halved {RETURNS} times before" if self._recover else "adversarial.recover is off"
            self.alarms[-1]["done"] = f"nothing: {why}; the best epoch is kept"
            return None
        self._returns += 1
        where = (
            f"the weights of epoch {self._good_epoch}" if self._good_epoch else "the weights that the stage began with"
        )
        self.alarms[-1]["done"] = f"went back to {where} and halved both rates"
        return copy.deepcopy(self._good)

    def of_last_epoch(self) -> list[dict[str, Any]]:
        """The alarms of the epoch that was judged last."""
        return [each for each in self.alarms if (each["stage"], each["epoch"]) == (self._stage, self._epoch - 1)]

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            "alarms": copy.deepcopy(self.alarms),
            "place": [self._stage, self._epoch, self._step],
            "good": self._good,
            "best": self._best,
            "good_epoch": self._good_epoch,
            "returns": [self._returning, self._returns],
            "in_succession": self._in_succession,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.alarms = copy.deepcopy(list(state["alarms"]))
        self._stage, self._epoch, self._step = state["place"]
        self._good, self._best = copy.deepcopy(dict(state["good"])), state["best"]
        self._good_epoch = state["good_epoch"]
        self._returning, self._returns = state["returns"]
        self._in_succession = state["in_succession"]

    def _raise(self, kind: str, what: str, **more: Any) -> dict[str, Any]:
        place = {"stage": self._stage, "epoch": self._epoch, "step": self._step}
        self.alarms.append({**place, "kind": kind, "what": what, "done": "", **more})
        return self.alarms[-1]

    def _of_this_epoch(self, kind: str) -> dict[str, Any] | None:
        found = [each for each in self.alarms if each["kind"] == kind and each["epoch"] == self._epoch]
        return next((each for each in found if each["stage"] == self._stage), None)
