"""How far each source was announced, kept in the journal's database beside what is announced."""

from dataclasses import dataclass
from importlib import import_module

from sqlalchemy import BigInteger, Column, Engine, MetaData, Table, Text, select

from runtime.database import reading, transaction

_METADATA = MetaData()
_PLACES = Table(
    "stream_places",
    _METADATA,
    Column("stream", Text, primary_key=True),  # or the family of streams: "signals"
    Column("source", Text, primary_key=True),  # an account's journal, or a view
    Column("seq", BigInteger, nullable=False),  # last entry of the chain, or version of the table
    Column("at", BigInteger, nullable=False),  # what was known then, microseconds since 1970
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Up to where a source is announced."""

    seq: int
    at: int = 0  # microseconds since 1970


class Places:
    """Reads and moves places; one that is lost or goes back means repeats, never a gap."""

    def __init__(self, engine: Engine) -> None:
        """Make the table if it is not there."""
        self._engine = engine
        with transaction(engine) as connection:
            _METADATA.create_all(connection)

    def of(self, stream: str, source: str) -> Place | None:
        """Return where a source stands, None if nothing of it was announced yet."""
        query = select(_PLACES.c.seq, _PLACES.c.at).where(
            _PLACES.c.stream == stream, _PLACES.c.source == source
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else Place(seq=row.seq, at=row.at)

    def move(self, stream: str, source: str, place: Place) -> None:
        """Remember where a source stands from now on."""
        dialect = import_module(f"sqlalchemy.dialects.{self._engine.dialect.name}")  # loaded by it
        row = {"stream": stream, "source": source, "seq": place.seq, "at": place.at}
        statement = dialect.insert(_PLACES).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=["stream", "source"],
            set_={"seq": statement.excluded.seq, "at": statement.excluded["at"]},
        )
        with transaction(self._engine) as connection:
            connection.execute(statement)
