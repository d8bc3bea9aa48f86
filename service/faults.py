"""What the service itself refuses, each error named for what happened and carrying a remedy."""

from featurestore.errors import PlatformError


class ServiceFault(PlatformError):
    """Root of the service's refusals; `remedy` says what to do."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail, remedy)
        self.detail, self.remedy = detail, remedy

    def __str__(self) -> str:
        return f"{self.detail}; {self.remedy}"


class NotFound(ServiceFault):
    """What was asked for is not there, or not yet."""


class QueryInvalid(ServiceFault):
    """A query parameter cannot be used."""
