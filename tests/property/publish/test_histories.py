"""However a history is cut into nights, the same blocks come out."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from etl.publish.block import PatientResources
from etl.publish.manifest import Changes, ReleaseFacts
from etl.publish.reader import open_current, read_all
from etl.publish.verify import verify
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import claim, logical_id, objects, publish, resource

EOB = "ExplanationOfBenefit"
PEOPLE = ["anna", "bert", "cleo"]
STAMP = "2026-01-{:02}T00:00:00Z"


@dataclass(frozen=True)
class Event:
    """Something that happens to one resource of one person.

    A person comes with `Patient`, and everything of theirs goes when that is deleted.
    """

    person: str
    number: int | None
    """Of the claim; None for the Patient itself."""
    amount: int | None
    """What it then says; None where it is deleted."""


events = st.builds(
    Event,
    st.sampled_from(PEOPLE),
    st.one_of(st.none(), st.integers(0, 13)),
    st.one_of(st.none(), st.integers(0, 3), st.integers(0, 3)),
)


def as_resource(event, stamp):
    if event.number is None:
        return resource("Patient", event.person, last_updated=stamp, multipleBirth=event.amount)
    more = {} if stamp is None else {"last_updated": stamp}
    day = f"2020-01-{event.number % 5 + 1:02}"
    return claim(event.person, event.number, day, amount=str(event.amount), **more)


def state_after(history, stated):
    """The slow and obvious oracle: who has what in the end."""
    state = {}
    for at, event in enumerate(history):
        stamp = STAMP.format(at % 28 + 1) if stated else None
        mine = state.setdefault(event.person, {})
        if event.amount is not None:
            if event.number is None or None in mine:
                mine[event.number] = as_resource(event, stamp)
        elif event.number is None:
            mine.clear()
        else:
            mine.pop(event.number, None)
    return {person: mine for person, mine in state.items() if mine}


def publish_states(store, before, after, now):
    """Publish what leads from one state to another: who is in both alike stays as he is."""
    changed = [
        PatientResources(logical_id(person), list(mine.values()))
        for person, mine in after.items()
        if before.get(person) != mine
    ]
    stay = [logical_id(person) for person, mine in after.items() if before.get(person) == mine]
    return publish(store, changed, now=now, stay=stay, facts=ReleaseFacts("delta"))


def live_blocks(release):
    """Return the catalog rows of members who are there, but for their index: it names who left."""
    return [replace(unit, index="", index_bytes=0) for unit in release.all_units() if unit.block]


def texts(release):
    return {
        unit.id: read_all(release.store, release.index(unit))
        for unit in release.all_units()
        if unit.block
    }


@settings(deadline=None, max_examples=60)
@given(st.lists(events, max_size=25), st.lists(st.integers(0, 25), max_size=4), st.booleans())
def test_any_split_of_a_history_into_nights_ends_like_one_full_load(history, cuts, repeat):
    store = MemoryStore()
    edges = [0, *sorted(min(cut, len(history)) for cut in cuts), len(history)]
    for number, end in enumerate(edges[1:]):
        before = state_after(history[: edges[number]], stated=True)
        after = state_after(history[:end], stated=True)
        now = STAMP.format(number + 1)
        publish_states(store, before, after, now)
        if repeat:
            there = objects(store)
            again = publish_states(store, before, after, now)
            assert {key for key in objects(store) if key not in there} <= {again.manifest.key}
            assert again.manifest.counts["changes"] == Changes().to_json()
    last = open_current(store).release
    assert last is not None
    assert not [one for one in verify(last).problems if one.kind != "reference"]
    whole = MemoryStore()
    everyone = [
        PatientResources(logical_id(person), list(mine.values()))
        for person, mine in state_after(history, stated=True).items()
    ]
    full = publish(whole, everyone, now=STAMP.format(28))
    assert live_blocks(last) == live_blocks(full)
    assert last.manifest.counts["resources"] == full.manifest.counts["resources"]
    assert last.manifest.counts["patients"] == full.manifest.counts["patients"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(events, max_size=12), min_size=1, max_size=4))
def test_full_extracts_keep_a_time_exactly_as_long_as_the_content(nights):
    store = MemoryStore()
    history = []
    since = {}
    for night, more in enumerate(nights):
        history += more
        now = f"2026-02-{night + 1:02}T00:00:00Z"
        state = state_after(history, stated=False)
        people = [
            PatientResources(logical_id(person), list(mine.values()))
            for person, mine in state.items()
        ]
        release = publish(store, people, now=now)
        bodies = {one.id: bytes(one.body) for mine in state.values() for one in mine.values()}
        since = {
            key: (body, since[key][1] if since.get(key, (b"", ""))[0] == body else now)
            for key, body in bodies.items()
        }
        found = {}
        for unit in release.all_units():
            if unit.block:
                index = release.index(unit)
                for row, key in enumerate(index.ids):
                    (found[key],) = index.last_updated.values_of(row)
        assert found == {key: stamp for key, (_, stamp) in since.items()}


@settings(deadline=None, max_examples=40)
@given(st.lists(events, max_size=20), st.integers(1, 4), st.randoms(use_true_random=False))
def test_partitions_and_input_order_leave_no_trace(history, partitions, shuffler):
    people = [
        PatientResources(logical_id(person), list(mine.values()))
        for person, mine in state_after(history, stated=False).items()
    ]
    one, other = MemoryStore(), MemoryStore()
    publish(one, people)
    shuffle = shuffler.shuffle
    shuffle(people)
    turned = []
    for person in people:
        resources = list(person.resources)
        shuffle(resources)
        turned.append(PatientResources(person.patient_id, resources))
    publish(other, turned, partitions=partitions)
    assert objects(one) == objects(other)
    first, second = open_current(one).release, open_current(other).release
    assert first is not None
    assert second is not None
    assert texts(first) == texts(second)
