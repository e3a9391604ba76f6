"""Twenty steps that do nothing, in a row, for Metaflow, which reads their source: ``python metaflow_flow.py run``."""

from metaflow import FlowSpec, step


class LinearFlow(FlowSpec):
    """Start, eighteen steps, end."""

    @step
    def start(self) -> None:
        """One more."""
        self.count = 0
        self.next(self.s01)

    @step
    def s01(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s02)

    @step
    def s02(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s03)

    @step
    def s03(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s04)

    @step
    def s04(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s05)

    @step
    def s05(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s06)

    @step
    def s06(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s07)

    @step
    def s07(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s08)

    @step
    def s08(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s09)

    @step
    def s09(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s10)

    @step
    def s10(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s11)

    @step
    def s11(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s12)

    @step
    def s12(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s13)

    @step
    def s13(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s14)

    @step
    def s14(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s15)

    @step
    def s15(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s16)

    @step
    def s16(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s17)

    @step
    def s17(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.s18)

    @step
    def s18(self) -> None:
        """One more."""
        self.count = self.count + 1
        self.next(self.end)

    @step
    def end(self) -> None:
        """The last."""
        self.count = self.count + 1


if __name__ == "__main__":
    LinearFlow()
