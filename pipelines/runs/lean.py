"""Import what notebooks need without what only other formats need.

Only the standard library is imported here: a warm parent watches which threads an import starts.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_IRI = "rfc3987_syntax"  # optional to jsonschema, which nbformat and papermill import


@contextmanager
def without_grammars() -> Iterator[None]:
    """Keep jsonschema from compiling the 38 grammars of IRIs, 1.3 s of CPU, while it is imported.

    It takes them for the format `iri`, which no notebook's schema names. Afterwards the package
    can be imported as ever.
    """
    if _IRI in sys.modules or "jsonschema" in sys.modules:
        yield
        return
    sys.modules[_IRI] = None  # type: ignore[assignment]  # documented: importing it then fails
    try:
        yield
    finally:
        del sys.modules[_IRI]
