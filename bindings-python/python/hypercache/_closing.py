"""What is closed at the end of a `with` block."""

from abc import abstractmethod
from types import TracebackType
from typing import Self


class Closing:
    """Ends with its `with` block."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Ends it; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
