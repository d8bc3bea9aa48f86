"""Opens the registry for the command line: to look, to change, and to sign."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

from runtime.bundles.contract import Stage, StopBands
from runtime.clock import WallClock
from runtime.errors import RegistryConflict
from runtime.registry import CHALLENGER, CHAMPION, Change, Comparison, Promoted, check_role
from service.books.accounts import LIVE
from service.databases import open_runtime
from service.faults import QueryInvalid
from service.operator.registrar import Promotions, Registrar, Request, open_registrar
from service.records import open_journal, open_registry
from service.settings import Settings, require_records


def registrar_of(settings: Settings) -> Registrar:
    """Open the registry of a workspace that has records."""
    require_records(settings)
    engine = open_runtime(settings)
    registry, journal = open_registry(settings, engine), open_journal(settings, engine, LIVE)
    return open_registrar(engine, registry, journal, WallClock())


def promotions_of(settings: Settings) -> Promotions:
    """Open what signs: the key is read when a promotion is asked for."""
    registrar = registrar_of(settings)

    def sign(folder: Path, asked: Request) -> Change:
        return _sign(settings, registrar, folder, asked)

    return Promotions(registrar=registrar, bundles=settings.bundles, sign=sign)


def _sign(settings: Settings, registrar: Registrar, folder: Path, asked: Request) -> Change:
    """Prove a bundle, sign it anew and seat it; nothing is seated that does not load."""
    from runtime.bundles.bundle import load_bundle, promote_bundle
    from runtime.bundles.signing import load_signer, load_trusted
    from service.trading.crew import check_comparable
    from service.trading.engines import active_bundle

    check_role(asked.role)
    trusted, registry = load_trusted(settings.trusted_keys), registrar.registry
    bundle = load_bundle(folder, trusted)
    comparison = None
    if asked.role.startswith(CHALLENGER):
        champion = active_bundle(settings)
        check_comparable(champion, bundle)
        if champion.hash == bundle.hash:
            raise RegistryConflict(f"bundle {bundle.hash[:12]} is the champion itself")
        comparison = Comparison(
            against=champion.hash, alpha=asked.alpha or 0.05, bound=asked.bound or 0.02
        )
    now = registrar.clock.now()
    study = bundle.manifest.study
    signature = promote_bundle(
        folder,
        trusted,
        load_signer(settings.workspace / "keys" / "signing.key"),
        signed_at=now,
        version=registry.newest_version(study) + 1,
        stage=_stage(asked.stage) or bundle.stage,
        by=asked.by,
        why=asked.why,
        bands=asked.bands,
    )
    promoted = Promoted(
        study=study,
        bundle=bundle.hash,
        version=signature.version,
        stage=signature.stage,
        promotion=signature,
    )
    return registry.activate(
        promoted, role=asked.role, by=asked.by, why=asked.why, at=now, comparison=comparison
    )


def _stage(text: str) -> Stage | None:
    match text:
        case "":
            return None
        case "staging" | "production":
            return text
    raise QueryInvalid(f"--stage: {text!r} is no stage", "say staging or production")


def bands_of(drawdown: str | None, loss: str | None, shortfall: str | None) -> StopBands | None:
    """Return stop bands as typed, None if none was; QueryInvalid if one is no fraction."""
    if drawdown is loss is shortfall is None:
        return None
    try:
        return StopBands(max_drawdown=drawdown, max_daily_loss=loss, max_shortfall=shortfall)
    except ValueError as error:
        raise QueryInvalid(str(error), "write a fraction, e.g. 0.10 for ten percent") from None


def fractions_of(words: Sequence[str]) -> dict[str, str]:
    """Return role -> fraction from ROLE=FRACTION; QueryInvalid if one is written otherwise."""
    found: dict[str, str] = {}
    for word in words:
        role, equals, fraction = word.partition("=")
        if not equals or role in found:
            raise QueryInvalid(
                f"{word!r} is no share of the capital, or {role} is named twice",
                f"write e.g. {CHAMPION}=0.7 arm.b=0.3",
            )
        found[role] = fraction
    return found


def end_of(day: str | None) -> datetime | None:
    """Return the end of a day in UTC, None if none was asked for."""
    try:
        return None if day is None else datetime.combine(date.fromisoformat(day), time.max, UTC)
    except ValueError:
        raise QueryInvalid(f"--at: {day!r} is not a day", "write YYYY-MM-DD") from None
