"""A street's state in a file: how it came to where it stands.

SUMO's own `saveState` loses vehicles that wait outside the net, because the route files do not rewind, and the run that
goes on from it is another one. So what is kept is what decides everything: scenario, seed, rules and decisions.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from iotlam.contracts import BadInput, Json, whole_file
from iotlam_street.junction import SignalRules
from iotlam_street.scenarios import Scenario
from iotlam_street.street import Street
from iotlam_street.sumo import Engine

VERSION = 1


def save_street(street: Street, path: Path) -> None:
    """Write where a street stands; the file appears whole or not at all."""
    scenario = street.scenario
    state: Json = {
        "version": VERSION,
        "scenario": {
            **asdict(scenario),
            "net": str(scenario.net.resolve()),
            "routes": [str(route.resolve()) for route in scenario.routes],
            "additional": [str(file.resolve()) for file in scenario.additional],
        },
        "seed": street.seed,
        "rules": asdict(street.rules),
        "native": street.native,
        "decisions": street.decisions,
    }
    with whole_file(path) as partial:
        partial.write_text(json.dumps(state))


def load_street(path: Path, engine: Engine = "libsumo", gui: bool = False, list_trips: bool = False) -> Street:
    """The street that `save_street` wrote, by living it again: tenths of a second for an hour of one junction.

    In a fresh process it goes on exactly as the street that was saved would have (see `Sumo`).

    Args:
        path: the file.
        engine: as of `Street`; it may be another than that of the street that was saved.
        gui: as of `Street`.
        list_trips: as of `Street`.

    Raises:
        BadInput: if the file is no such state, or its net or routes are gone.
    """
    try:
        state = json.loads(path.read_text())
        if state["version"] != VERSION:
            raise ValueError(f"version {state['version']}")
        known = state["scenario"]
        routes, additional = (tuple(map(Path, known[key])) for key in ("routes", "additional"))
        span_s, share = (known["begin_s"], known["end_s"]), float(known["priority_share"])
        scenario = Scenario(known["name"], Path(known["net"]), routes, *span_s, additional, share)
        rules = SignalRules(**state["rules"])
        seed, native, decisions = state["seed"], state["native"], state["decisions"]
        if not isinstance(decisions, list):
            raise ValueError(f"decisions {decisions}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        got = f"one without {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise BadInput(str(path), expected="a saved street", got=got, fix="save it again") from error
    street = Street(scenario, seed, rules, native, engine=engine, gui=gui, list_trips=list_trips)
    for phases in decisions:
        street.advance(phases)
    return street
