"""What a failed proof says: the feature, the row, the events that it sees and those that it does not, both values."""

from collections.abc import Mapping
from typing import Any

from featurestore import times
from featurestore.definition import AS_OF, located
from featurestore.plan import RowStep, ServicePlan
from featurestore.testing.answers import Look, Made
from featurestore.testing.oracle import KNOWN_AT, POSITION, Event

_SHOWN = 12


def told(plan: ServicePlan, output: str, values: Mapping[str, Any], row: Mapping[str, Any], made: Made) -> str:
    """Words for a value that differs; ``values`` by who gives them."""
    step = next(one for one in plan.steps if output in ((one.output,) if isinstance(one, RowStep) else one.outputs))
    asked = [f"{name}={one!r}" for name, one in row.items() if name != AS_OF]
    lines = [
        f"{located(step.feature.function)}: feature {output!r} of service {plan.service.name!r} is not the same bytes:",
        *(f"  {given!r} ({who})" for who, given in values.items()),
        f"  row: {', '.join([*asked, f'as_of={times.isoformat(row[AS_OF])}'])}",
    ]
    lines += [f"  made of: {', '.join(f'{name}={one!r}' for name, one in made.inputs.items())}"] if made.inputs else []
    return "\n".join([*lines, *(_events(made, made.look) if made.look else ())])


def _events(made: Made, look: Look) -> list[str]:
    end = look.as_of - look.offset
    begin = "the beginning" if look.window is None else times.isoformat(end - look.window)
    edge = "]" if look.rules.inclusive else ")"
    lines = [f"  window: [{begin}, {times.isoformat(end)}{edge}, after {look.position} deliveries"]
    lines += _listed(f"  sees {len(made.events)} events:", [_event(one, look) for one in made.events])
    others = [f"{_event(one, look)}: {look.why_not(one)}" for one in made.others]
    return lines + (_listed(f"  not {len(others)} more of the entity:", others) if others else [])


def _listed(head: str, lines: list[str]) -> list[str]:
    more = [f"    and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [head, *(f"    {one}" for one in lines[:_SHOWN]), *more]


def _event(event: Event, look: Look) -> str:
    rules = look.rules
    columns = [f"{name}={event[name]!r}" for name in rules.columns if name not in (rules.event_time, rules.known_at)]
    happened, known = (times.isoformat(event[name]) for name in (rules.event_time, KNOWN_AT))
    return f"{happened}, known {known}, delivery {event[POSITION]}: {', '.join(columns)}"
