"""Request times of training rows: drawn from the hours after a cut-off, the same on every machine."""

from artefacts.cutoffs import HourRange

_HOUR_US = 3_600_000_000


def time_of_day_sql(hours: tuple[HourRange, ...], salt: str, key: str) -> str:
    """SQL for whole microseconds after midnight, derived only from the salt and the key.

    Drawn by a digest, which is equal in every version and on every machine; its upper 53 bits are a number in [0, 1).

    Args:
        salt: text without quotes.
        key: SQL for the entity's key as text.
    """
    drawn = f"((md5_number_lower('{salt}' || {key}) >> 11) / {2**53}.0)"
    cases, before = [], 0.0
    for each in hours:
        first, last = round(each.first * _HOUR_US), round(each.last * _HOUR_US)
        within = f"floor({first} + ({drawn} - {before!r}) / {each.share!r} * {last - first})::BIGINT"
        cases.append((before + each.share, f"greatest({first}, least({within}, {max(first, last - 1)}))"))
        before += each.share
    *earlier, (_, otherwise) = cases
    if not earlier:
        return otherwise
    whens = " ".join(f"WHEN {drawn} < {until!r} THEN {then}" for until, then in earlier)
    return f"CASE {whens} ELSE {otherwise} END"
