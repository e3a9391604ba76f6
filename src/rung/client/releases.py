"""Releases from Python: growing canaries, A/B tests, shadows, options, plans."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.client.transports import Transport
from rung.core.errors import Invalid
from rung.core.records import decoded
from rung.monitoring.export_records import ExportLabels
from rung.serving import ab_records as tests
from rung.serving import records as r
from rung.serving import rollout_records as ro
from rung.serving.arm_records import ArmFigures, ListSwaps, MeasureArms, SwapTime
from rung.serving.comparing_records import CompareShadow, ListShadowComparisons, ShadowComparison
from rung.serving.configuring_records import Configure, DiffRevisions, PlanChange, RevisionDiff
from rung.serving.options import DeploymentOptions


class ReleaseVerbs:
    """Verbs that change a deployment step by step, and those that show how the change does."""

    _transport: Transport

    def configure(
        self, deployment: str, settings: Mapping[str, Any] | None = None, *, options: DeploymentOptions | str | Path | None = None, reason: str = ""
    ) -> r.Revision:  # fmt: skip
        """Change options: single ones by their path, or all of them by a record or a TOML file. Raises Invalid naming the nearest path."""
        held = options_from(options) if isinstance(options, str | Path) else options
        return self._transport.call(Configure(deployment=deployment, set=dict(settings or {}), options=held, reason=reason))

    def plan(self, verb: str, deployment: str, **fields: Any) -> RevisionDiff:
        """What a verb (deploy, start_canary, configure …) would change, without doing it."""
        return self._transport.call(PlanChange(verb=verb, fields={"deployment": deployment, **fields}))  # type: ignore[arg-type]  # checked at the door

    def diff(self, deployment: str, before: int, after: int | None = None) -> RevisionDiff:
        """What differs between two revisions; without ``after``, the one in force."""
        return self._transport.call(DiffRevisions(deployment=deployment, before=before, after=after))

    def rollouts(self, deployment: str | None = None, *, active: bool = False) -> tuple[ro.Rollout, ...]:
        """Canaries that grew, newest first; with ``active`` those under way."""
        return self._transport.call(ro.ListRollouts(deployment=deployment, active=active))

    def judgements(self, deployment: str, rollout: str | None = None) -> tuple[ro.RolloutJudgement, ...]:
        """Looks at growing canaries, newest first."""
        return self._transport.call(ro.ListRolloutJudgements(deployment=deployment, rollout=rollout))

    def weigh_rollout(self, deployment: str) -> ro.Rollout:
        """Look at a growing canary now, with the labels known now; the engine does this by itself."""
        labels = self._transport.call(ExportLabels(deployment=deployment))
        return self._transport.call(ro.WeighRollout(deployment=deployment, labels=labels))

    def advance_rollout(self, deployment: str, judgement: str) -> ro.Rollout:
        """Act on a judgement; the engine does this by itself."""
        return self._transport.call(ro.AdvanceRollout(deployment=deployment, judgement=judgement))

    def pause_rollout(self, deployment: str, *, reason: str = "") -> ro.Rollout:
        """Keep a growing canary at its share."""
        return self._transport.call(ro.PauseRollout(deployment=deployment, reason=reason))

    def resume_rollout(self, deployment: str, *, reason: str = "") -> ro.Rollout:
        """Let a paused canary grow on."""
        return self._transport.call(ro.ResumeRollout(deployment=deployment, reason=reason))

    def abort_rollout(self, deployment: str, *, reason: str = "") -> r.Revision:
        """Take a growing canary out of traffic."""
        return self._transport.call(ro.AbortRollout(deployment=deployment, reason=reason))

    def start_ab(
        self, deployment: str, arms: Sequence[tests.ArmWish], *, policy: str = "split", settings: Mapping[str, Any] | None = None,
        reward: tests.Reward = "correct", values: Mapping[str, float] | None = None, threshold: float = 0.5, alpha: float = 0.05,
        planned_rows: int = 10_000, sticky: str | None = None, reason: str = "", override_reason: str = "",
    ) -> tests.AbTest:  # fmt: skip
        """Begin an A/B test, or with a policy that learns a bandit, beside the stable version."""
        return self._transport.call(
            tests.StartAb(
                deployment=deployment, arms=tuple(arms), policy=policy, settings=dict(settings or {}), reward=reward, values=dict(values or {}),
                threshold=threshold, alpha=alpha, planned_rows=planned_rows, sticky=sticky, reason=reason, override_reason=override_reason,
            )
        )  # fmt: skip

    def look_at_ab(self, deployment: str) -> tests.AbTest:
        """Look at the A/B test with the labels known now; any number of looks is valid. The engine looks whenever labels come."""
        labels = self._transport.call(ExportLabels(deployment=deployment))
        return self._transport.call(tests.LookAtAb(deployment=deployment, labels=labels))

    def stop_ab(self, deployment: str, *, keep: str = "stable", reason: str = "", override_reason: str = "") -> r.Revision:
        """End the A/B test; the arm ``keep`` becomes the stable version."""
        return self._transport.call(tests.StopAb(deployment=deployment, keep=keep, reason=reason, override_reason=override_reason))

    def ab(self, deployment: str) -> tests.AbTest:
        """The newest A/B test of a deployment. Raises NotFound."""
        return self._transport.call(tests.GetAb(deployment=deployment))

    def ab_tests(self, deployment: str | None = None, *, active: bool = False) -> tuple[tests.AbTest, ...]:
        """A/B tests, newest first."""
        return self._transport.call(tests.ListAb(deployment=deployment, active=active))

    def ab_looks(self, deployment: str) -> tuple[tests.AbLook, ...]:
        """Looks at the newest A/B test, newest first."""
        return self._transport.call(tests.ListAbLooks(deployment=deployment))

    def arms(self, deployment: str) -> tuple[ArmFigures, ...]:
        """Rows, errors and times of each arm."""
        return self._transport.call(MeasureArms(deployment=deployment))

    def swaps(self, deployment: str) -> tuple[SwapTime, ...]:
        """How long the process asked took to answer with each revision."""
        return self._transport.call(ListSwaps(deployment=deployment))

    def compare_shadow(self, deployment: str, *, threshold: float | None = None) -> ShadowComparison:
        """What the shadow would have answered, beside what was answered; of the last one when none stands. Raises Conflict without any."""
        return self._transport.call(CompareShadow(deployment=deployment, threshold=threshold))

    def shadow_comparisons(self, deployment: str) -> tuple[ShadowComparison, ...]:
        """Comparisons kept of all shadows, newest first."""
        return self._transport.call(ListShadowComparisons(deployment=deployment))


def options_from(path: str | Path) -> DeploymentOptions:
    """Options out of a TOML file. Raises Invalid."""
    try:
        plain = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"{path} is not readable TOML: {error}.", code="serving.bad_options", hint="See `rung endpoint options`.") from None
    return decoded(plain, DeploymentOptions)
