"""What an engine in the background does besides runs. A command that drives one run never loads this: most areas stand behind it."""

from __future__ import annotations

from rung.engine.host import Host
from rung.engine.lineage_mail import LineageMail
from rung.engine.log_keeping import LogKeeper
from rung.engine.loop_subscribers import load_subscribers
from rung.engine.postman import Postman
from rung.engine.rollout_clock import RolloutClock
from rung.engine.trigger_clock import TriggerClock


class Chores:
    """Schedules, rollouts, webhooks, lineage and the prediction log; and the subscribers of events are known once it is made."""

    def __init__(self, host: Host, owner: str) -> None:
        load_subscribers()
        self.clock = TriggerClock(host, owner)
        self.rollouts = RolloutClock(host, owner)
        self._mail = (Postman(host), LineageMail(host, owner), LogKeeper(host, owner))

    def fire(self) -> bool:
        """Fire what is due by the clock; whether there was anything."""
        worked = self.clock.tick()
        worked |= self.rollouts.tick()
        return worked

    def send(self) -> bool:
        """Send what waits to be sent or put away; whether there was anything."""
        worked = False
        for one in self._mail:
            worked |= one.tick()
        return worked

    def close(self) -> None:
        """End what is under way."""
        for one in self._mail:
            one.close()
