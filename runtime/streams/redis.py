"""A stream on Redis or Valkey: one entry per message, RESP2, the commands of Redis 6.2.

    sluice:streams            names of all streams, a set
    sluice:{NAME}             the stream; entries carry k (key) and p (payload)
    sluice:{NAME}:dead:GROUP  poison messages of a group

A batch is appended by one script: the server runs it in one step and writes it to its append-only
file as one transaction, and the client packs one command instead of a hundred (most of the time of
a pipeline is spent packing and unpacking in Python).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from runtime.errors import GroupUnknown, StreamUnavailable
from runtime.streams.port import NO_WAIT, Buried, Delivery, Lag, Message, checked_name

T = TypeVar("T")

PUBLISH = """
local ids = {}
for i = 1, #ARGV, 2 do
  ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'k', ARGV[i], 'p', ARGV[i + 1])
end
return ids
"""
BURY = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'id', ARGV[2], 'k', ARGV[3], 'p', ARGV[4], 'n', ARGV[5],
           'r', ARGV[6])
return 1
"""
# The lowest place that some group still needs: its oldest pending message, or the one after the
# last it received. Ids are milliseconds-sequence; both fit a double.
TRIM = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local low_ms, low_seq = nil, nil
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local facts = {}
  for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
  local id, after = facts['last-delivered-id'], 1
  if facts['pending'] > 0 then
    id, after = redis.call('XPENDING', KEYS[1], facts['name'])[2], 0
  end
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  ms, seq = tonumber(ms), tonumber(seq) + after
  if low_ms == nil or ms < low_ms or (ms == low_ms and seq < low_seq) then
    low_ms, low_seq = ms, seq
  end
end
if low_ms == nil then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-%.0f', low_ms, low_seq))
"""
NAMES = "sluice:streams"
LONGEST_WAIT = timedelta(seconds=5)  # below the client's time-out
LONG_AGO = 10**9  # milliseconds; longer than any `idle`
_RAW = ("XCLAIM", "XREADGROUP", "XAUTOCLAIM", "XPENDING", "XRANGE", "XINFO GROUPS")


class RedisStream:
    """One stream on a server; the client must speak RESP2 and return bytes."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client: Any = client
        self._name = checked_name(name)
        self._key = f"sluice:{{{name}}}"
        for command in _RAW:  # the client's own unpacking costs more than the round trip
            self._client.response_callbacks.pop(command, None)
        self._connections = 0
        # A pool makes connections silently; one made late may lead to a server that was restarted.
        # Those that it has were made without this greeting and would never call it.
        self._client.connection_pool.connection_kwargs["redis_connect_func"] = self._greet
        self._client.connection_pool.disconnect()
        self._client.connection_pool.reset()
        self._publish = self._client.register_script(PUBLISH)
        self._bury = self._client.register_script(BURY)
        self._trim = self._client.register_script(TRIM)

    @property
    def name(self) -> str:
        """Return the stream's name."""
        return self._name

    @property
    def connection(self) -> int:
        """Return how many connections were made so far; see the port."""
        return self._connections

    def publish(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Append messages, all or none; see the port."""
        if not messages:
            return ()
        arguments: list[bytes | str] = []
        for message in messages:
            arguments.append(message.key)
            arguments.append(message.payload)
        ids = self._asked(lambda: self._publish(keys=[self._key], args=arguments))
        return tuple([each.decode() for each in ids])

    def subscribe(self, group: str, *, from_start: bool = True) -> None:
        """Make a group; see the port."""
        start = "0" if from_start else "$"
        try:
            self._client.xgroup_create(self._key, checked_name(group), id=start, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise _unavailable(error) from error
        except RedisError as error:
            raise _unavailable(error) from error

    def read(
        self, group: str, consumer: str, *, count: int, wait: timedelta = NO_WAIT
    ) -> list[Delivery]:
        """Hand out new messages; see the port."""
        command: list[Any] = ["XREADGROUP", "GROUP", group, consumer, "COUNT", count]
        if wait > NO_WAIT:
            command += ["BLOCK", max(1, min(wait, LONGEST_WAIT) // timedelta(milliseconds=1))]
        command += ["STREAMS", self._key, ">"]
        answer = self._asked(lambda: self._client.execute_command(*command))
        if not answer:
            return []
        return [
            Delivery(place.decode(), fields[1].decode(), fields[3], 1)
            for place, fields in answer[0][1]
        ]

    def recover(self, group: str, consumer: str, *, idle: timedelta, count: int) -> list[Delivery]:
        """Hand out pending messages again; see the port."""
        milliseconds = idle // timedelta(milliseconds=1)
        found: list[Any] = []
        cursor: bytes | str = "0-0"
        while len(found) < count:
            command = ("XAUTOCLAIM", self._key, group, consumer, milliseconds, cursor)
            wanted = count - len(found)
            answer = self._asked(
                lambda: self._client.execute_command(*command, "COUNT", wanted)  # noqa: B023
            )
            cursor = answer[0]
            found += [each for each in answer[1] if each is not None and each[1] is not None]
            if cursor == b"0-0":
                break
        if not found:
            return []
        span = (found[0][0], found[-1][0])
        counted = self._asked(
            lambda: self._client.execute_command(
                "XPENDING", self._key, group, *span, 1_000_000, consumer
            )
        )
        deliveries = {place: number for place, _, _, number in counted}
        return [
            Delivery(place.decode(), fields[1].decode(), fields[3], deliveries.get(place, 1))
            for place, fields in found
        ]

    def release(self, group: str, consumer: str, found: Sequence[Delivery]) -> None:
        """Give messages back uncounted; see the port."""

        def claim() -> None:
            with self._client.pipeline(transaction=False) as pipeline:
                for each in found:
                    command = ("XCLAIM", self._key, group, consumer, 0, each.id)
                    count = ("RETRYCOUNT", each.deliveries - 1, "JUSTID")
                    pipeline.execute_command(*command, "IDLE", LONG_AGO, *count)
                pipeline.execute()

        self._asked(claim)

    def acknowledge(self, group: str, ids: Sequence[str]) -> int:
        """Mark messages as handled, all in one command; see the port."""
        if not ids:
            return 0
        return int(self._asked(lambda: self._client.xack(self._key, group, *ids)))

    def bury(self, group: str, delivery: Delivery, reason: str) -> bool:
        """Set a poison message aside; see the port."""
        facts = (delivery.id, delivery.key, delivery.payload, delivery.deliveries, reason)
        keys = [self._key, self._dead(group)]
        return bool(self._asked(lambda: self._bury(keys=keys, args=[group, *facts])))

    def buried(self, group: str) -> list[Buried]:
        """Return the group's poison messages; see the port."""
        return [buried for _, buried in self._graves(group)]

    def revive(self, group: str, ids: Sequence[str]) -> int:
        """Publish poison messages once more; other groups drop them by key; see the port."""
        wanted = [(place, each) for place, each in self._graves(group) if each.id in set(ids)]
        if wanted:
            self.publish([Message(each.key, each.payload) for _, each in wanted])
            places = [place for place, _ in wanted]
            self._asked(lambda: self._client.xdel(self._dead(group), *places))
        return len(wanted)

    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups, sorted."""
        return tuple(sorted(self._facts()))

    def lag(self, group: str, *, now: datetime) -> Lag:
        """Tell how far a group is behind; see the port."""
        facts = self._facts().get(group)
        if facts is None:
            raise _unknown(group, self._name)
        after = b"(" + facts[b"last-delivered-id"]
        oldest = None
        if facts[b"pending"]:
            oldest = self._asked(
                lambda: self._client.execute_command("XPENDING", self._key, group)
            )[1]
        else:
            ahead = self._range(after, count=1)
            oldest = ahead[0][0] if ahead else None
        waiting = facts.get(b"lag")
        if waiting is None:  # servers before 7.0, or after entries were deleted
            waiting = self._count(after)
        age = NO_WAIT
        if oldest is not None:
            since = datetime.fromtimestamp(int(oldest.split(b"-")[0]) / 1000, UTC)
            age = max(NO_WAIT, now - since)
        return Lag(waiting=int(waiting), pending=int(facts[b"pending"]), age=age)

    def trim(self) -> int:
        """Remove what every group has acknowledged; see the port."""
        return int(self._asked(lambda: self._trim(keys=[self._key])))

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _greet(self, connection: Any) -> None:
        connection.on_connect()
        connection.send_command("SADD", NAMES, self._name)
        connection.read_response()
        self._connections += 1

    def _dead(self, group: str) -> str:
        return f"{self._key}:dead:{group}"

    def _graves(self, group: str) -> list[tuple[bytes, Buried]]:
        entries = self._asked(
            lambda: self._client.execute_command("XRANGE", self._dead(group), "-", "+")
        )
        found = []
        for place, fields in entries:
            facts = dict(zip(fields[::2], fields[1::2], strict=True))
            buried = Buried(
                id=facts[b"id"].decode(),
                key=facts[b"k"].decode(),
                payload=facts[b"p"],
                deliveries=int(facts[b"n"]),
                reason=facts[b"r"].decode(),
            )
            found.append((place, buried))
        return found

    def _facts(self) -> dict[str, dict[bytes, Any]]:
        try:
            answer = self._client.execute_command("XINFO GROUPS", self._key)
        except ResponseError as error:
            if "no such key" in str(error).lower():
                return {}
            raise _unavailable(error) from error
        except RedisError as error:
            raise _unavailable(error) from error
        facts = [dict(zip(each[::2], each[1::2], strict=True)) for each in answer]
        return {each[b"name"].decode(): each for each in facts}

    def _range(self, after: bytes, *, count: int) -> Any:
        command = ("XRANGE", self._key, after, "+", "COUNT", count)
        return self._asked(lambda: self._client.execute_command(*command))

    def _count(self, after: bytes) -> int:
        total = 0
        while page := self._range(after, count=10_000):
            total += len(page)
            after = b"(" + page[-1][0]
        return total

    def _asked(self, question: Callable[[], T]) -> T:
        """Ask the server; turn its refusals into our errors."""
        try:
            return question()
        except ResponseError as error:
            if str(error).startswith("NOGROUP"):
                raise _unknown(str(error), self._name) from error
            raise _unavailable(error) from error
        except RedisError as error:
            raise _unavailable(error) from error


def names_on(client: Redis) -> tuple[str, ...]:
    """Return the names of the streams on a server, sorted; the client is closed."""
    held: Any = client
    try:
        return tuple(sorted(name.decode() for name in held.smembers(NAMES)))
    except RedisError as error:
        raise _unavailable(error) from error
    finally:
        client.close()


def _unknown(group: str, stream: str) -> GroupUnknown:
    return GroupUnknown(f"stream {stream} has no such group: {group}; subscribe it first")


def _unavailable(error: RedisError) -> StreamUnavailable:
    return StreamUnavailable(
        f"the streams' server does not answer as it should: {error}; "
        "the same call may be repeated, consumers drop repeats by key"
    )
