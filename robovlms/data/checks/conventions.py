"""What the actions are declared to mean agrees with what they do."""

from collections.abc import Iterator

from robovlms.data.checks.check import Check
from robovlms.data.checks.fault import Fault
from robovlms.data.conventions import check_conventions, infer_conventions


class ConventionsCheck(Check):
    """States and actions do not contradict the declared action space."""

    def end(self) -> Iterator[Fault]:
        for found in check_conventions(self.source.action_space, infer_conventions(self.source)):
            yield Fault(
                check="conventions",
                file=self.source.path,
                key=found.field,
                expected=found.declared,
                seen=found.seen,
                message=f"{self.source.path}: {found.message}",
            )
