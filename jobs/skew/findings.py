"""The names of the classes of difference between served and stored values, each with its proof in words."""

from enum import Enum


class Finding(Enum):
    """A class of difference and what proves it.

    `OVERRIDE` stays first: a higher code is a difference.
    """

    OVERRIDE = ("override", "the request gave the value; it is compared with nothing")
    CACHED = ("cached", "the row came from the last known good values")
    MISTIMED = (
        "event_time_fault",
        "no stored row has the event time and the values that were served; the values are another row's",
    )
    MISTIMED_STALE = ("event_time_fault", "past its TTL by an event time that no stored row has")
    FUTURE = ("event_time_fault", "no stored row has the event time that was served; it lies after the decision")
    MISSED_BUILD = ("missed_build", "no build was made between the row's event time and the decision, for too long")
    NOT_BUILT_YET = ("not_built_yet", "the row's event time is after the build in place at the decision, which was due")
    LATE = ("late_event", "the row became known after the decision, though a build had been made since its event time")
    NO_LONGER_STORED = ("no_longer_stored", "the offline store has dropped the snapshot that was served")
    EXPIRED = ("expired_defaulted", "the row served was older than its TTL; the offline store has a fresher one")
    EXPIRED_ALONE = ("expired_defaulted", "the row served was older than its TTL; the offline store has no row")
    LAG = ("materialization_lag", "an older row of the key was served, just as it is stored offline")
    LAG_OF_VERSION = ("materialization_lag", "an earlier version of the row was served, just as it is stored offline")
    NO_ROW_ONLINE = ("materialization_lag", "the key was unknown online and has a row offline")
    DEFAULT_USED = ("default_used", "the value was missing online and is there offline; the default stood in")
    NULL_SEEN = ("default_used", "the value was missing online and is there offline; the model took the null")
    ZEROED = ("zeroed_input", "0 was served; the offline value is another")
    ZERO_FOR_NULL = ("zeroed_input", "0 was served; offline there is no value")
    ZEROED_SOURCES = ("zeroed_input", "computed on demand as if stored values that it is made of were 0")
    SWAPPED = ("type_or_order_fault", "the values of these features are each other's")
    TRUNCATED = ("type_or_order_fault", "the offline value cut to a whole number")
    HALF_PRECISION = ("type_or_order_fault", "the offline value rounded to float16")
    UNSEEN_FOR_NULL = ("type_or_order_fault", "a category that the model does not know was served; offline it is null")
    UNSEEN_SERVED = (
        "type_or_order_fault",
        "a category that the model does not know was served in place of a known one",
    )
    OTHER_CODE = ("transformation_changed", "the row served was built by other code than the offline row")
    COMPUTED = ("transformation_changed", "computed otherwise from stored rows that agree")
    STORED = ("transformation_changed", "stored otherwise under the same event time, by a row that is no newer")
    NEWER_THAN_DECISION = ("unexplained", "the row served is newer than the decision")
    NO_ROW_OFFLINE = ("unexplained", "the offline store has no such row")
    REWRITTEN = ("unexplained", "the row was written anew after the decision; what it said before is not stored")
    UNKNOWN = ("unexplained", "nothing that is stored explains it")

    @property
    def kind(self) -> str:
        """Name of the class."""
        return self.value[0]

    @property
    def proof(self) -> str:
        """What proves the class, in words."""
        return self.value[1]


FINDINGS = tuple(Finding)
AGREES = 0
"""Code of a value that does not differ. Other codes are 1 + the position in `FINDINGS`."""
CLASSES = tuple(dict.fromkeys(finding.kind for finding in FINDINGS))
FAULTS = ("event_time_fault", "zeroed_input", "type_or_order_fault", "transformation_changed")
"""Classes that name something wrong, as opposed to rows that were late or old."""


def code(finding: Finding) -> int:
    """The code of a finding in arrays."""
    return 1 + FINDINGS.index(finding)
