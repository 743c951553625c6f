"""`iotlam faults`: data, diagnose, train, fit, evaluate, report, monitor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iotlam.cli.output import print_json, print_rows
from iotlam.contracts import BadInput, Json, check_page_path, check_writable

if TYPE_CHECKING:
    from iotlam_faults.data.reading import Waveform
    from iotlam_faults.data.store import Store
    from iotlam_faults.trained import Trained
    from iotlam_machine.bearings import Bearing

app = typer.Typer(no_args_is_help=True, help="Machine faults from vibration and motor current.")
data_app = typer.Typer(no_args_is_help=True, help="Public data sets: list, download, verify.")
app.add_typer(data_app, name="data")

Root = Annotated[
    Path | None, typer.Option("--dir", help="Where data sets lie; default: $IOTLAM_DATA, else ~/.cache/iotlam/data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@data_app.command("list")
def list_data(
    name: Annotated[str | None, typer.Argument(help="A data set, to list its recordings.")] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """List the data sets and what of them is here, or the recordings of one.

    Examples: iotlam faults data list

    iotlam faults data list cwru | grep inner
    """
    from iotlam_faults.data.catalogue import SETS, entries
    from iotlam_faults.data.store import Store, default_root

    if name is not None:
        print_rows([_recording(entry.to_raw()) for entry in entries(name)], as_json)
        return
    store = Store(root or default_root())
    print_rows([_set_row(store, one) for one in SETS], as_json)


@data_app.command()
def get(
    names: Annotated[list[str], typer.Argument(help="Data sets, as in: cwru uored.")],
    only: Annotated[
        str, typer.Option(help="Files to bring, comma-separated, with wildcards: 'K00*.rar,KA01.rar'.")
    ] = "*",
    root: Root = None,
) -> None:
    """Download data sets from their publishers, checked; what breaks off is resumed by the same command.

    Archives are unpacked; no tool of the system is needed. Mind the licences that `list` tells.

    Examples: iotlam faults data get cwru

    iotlam faults data get paderborn --only 'K001.rar,KA04.rar,KI04.rar'
    """
    from fnmatch import fnmatch

    from iotlam.training.progress import progress
    from iotlam_faults.data.catalogue import downloads, entries, find_set
    from iotlam_faults.data.fetch import get as get_files
    from iotlam_faults.data.store import Store, default_root

    store = Store(root or default_root())
    check_writable("--dir", store.root)
    for name in dict.fromkeys(names):
        found = find_set(name)
        patterns = [pattern.strip() for pattern in only.split(",")]
        wanted = [one for one in downloads(name) if any(fnmatch(one.file, pattern) for pattern in patterns)]
        if not wanted:
            raise BadInput(
                "--only", expected=f"files of '{name}'", got=f"'{only}'", fix=f"see: iotlam faults data list {name}"
            )
        members = [entry.member for entry in entries(name) if entry.member]
        megabytes = sum(one.bytes for one in wanted) // 1_000_000
        typer.echo(f"{name}: {found.title}; licence: {found.licence}; {found.home}", err=True)
        with progress(f"{name}, {megabytes} MB", total=sum(one.bytes for one in wanted)) as step:
            get_files(store, wanted, members, step)
        typer.echo(f"{name}: {len(wanted)} files in {store.folder(name)}")


@data_app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; default: those that are here.")] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Compare what is here with the published checksums; exit 1 if a file is not what it should be.

    Example: iotlam faults data verify cwru
    """
    from iotlam.training.progress import progress
    from iotlam_faults.data.catalogue import SETS, downloads
    from iotlam_faults.data.store import Store, default_root
    from iotlam_faults.data.verify import verify_set

    store = Store(root or default_root())
    rows: list[Json] = []
    for name in names or [one for one in SETS if store.folder(one).is_dir()]:
        with progress(f"{name}", total=sum(one.bytes for one in downloads(name))) as step:
            checked = verify_set(store, name, step)
        rows.append({"set": name, **checked.as_row()})
    print_rows(rows, as_json)
    if any(row["damaged"] for row in rows):
        raise typer.Exit(1)


@app.command()
def diagnose(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A recording: .mat, .csv, .wav, .npz or .parquet.")],
    rpm: Annotated[
        float | None,
        typer.Option(min=1.0, max=60_000.0, help="Speed of the shaft, turns/min; default: what the file says."),
    ] = None,
    bearing: Annotated[str | None, typer.Option(help="Number of the bearing, such as 6205.")] = None,
    geometry: Annotated[
        str | None, typer.Option(help="Or its geometry: balls, ball mm, pitch mm, contact angle: '9,7.94,39.04,0'.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Which sensor or axis; default: all, and the clearest answers.")
    ] = None,
    healthy: Annotated[
        list[Path] | None, typer.Option(help="A recording of the same sensor while sound; may be repeated.")
    ] = None,
    head: Annotated[
        Path | None, typer.Option(help="A head trained on recordings, as a second opinion (seconds more).")
    ] = None,
    part: Annotated[str, typer.Option(help="Where in its machine the sensor sits, as the head knows it.")] = "",
    current: Annotated[Path | None, typer.Option(help="The motor's current meanwhile, one phase or three.")] = None,
    out: Annotated[Path, typer.Option(help="The evidence page (.html).")] = Path("diagnosis.html"),
    as_json: AsJson = False,
) -> None:
    """Diagnose a bearing from one recording: verdict, evidence page, reasons to doubt.

    Speed and bearing may be left away for a recording of a public data set, which is recognised.

    Examples: iotlam faults diagnose pump.wav --rpm 1480 --bearing 6205

    iotlam faults diagnose 130.mat --out page.html --json

    iotlam faults diagnose today.wav --healthy january.wav --rpm 1480 --bearing 6205 --head heads/plant --part DE
    """
    import torch

    from iotlam_faults.data.recognise import known_notes, recognised
    from iotlam_faults.diagnose import strongest
    from iotlam_faults.report import write_page
    from iotlam_faults.signals import pick, read_motor_current, read_signals
    from iotlam_faults.telling import in_numbers, in_words
    from iotlam_faults.typed import as_given
    from iotlam_machine.bearings import find_bearing

    torch.set_num_threads(1)  # on arrays this small a second thread costs more than it gives
    check_page_path("--out", out)
    if bearing and geometry:
        raise BadInput("--geometry", expected="it or --bearing", got="both", fix="leave one of them away")
    if rpm is not None:
        _finite("--rpm", rpm)
    known = recognised(file)
    wanted = [channel] if channel else [entry.channel for entry in known]
    shape = _geometry(geometry) if geometry else find_bearing(bearing) if bearing else None
    signals = [
        one.known_as(known).told(rpm / 60.0 if rpm else None, shape, bearing or "", part)
        for one in pick(read_signals(file, known_notes(file, known)), wanted)
    ]
    sound = []
    for path in healthy or ():
        published = recognised(path)
        sound.append([one.known_as(published) for one in read_signals(path, known_notes(path, published))])
    motor = read_motor_current(current) if current else None
    answer = strongest(signals, sound, _trained(head) if head else None, motor)
    page = write_page(answer, out, [f"iotlam faults diagnose {as_given(ctx)}"])
    if as_json:
        print_json({**in_numbers(answer), "page": str(page)})
    else:
        typer.echo("\n".join([*in_words(answer), f"page: {page}"]))


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; started again, it resumes.")] = Path("runs/faults"),
    machines: Annotated[int, typer.Option(min=10, help="Machines to simulate, each of another kind.")] = 8000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of learning.")] = 3000,
    modalities: Annotated[
        str, typer.Option(help="Sensors, comma-separated.")
    ] = "vibration_orders,vibration_residual,current",
    decoder: Annotated[str, typer.Option(help="Preset, folder or hub name of the decoder.")] = "nano",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seed: Annotated[int, typer.Option(min=0, max=1000, help="Seed of everything.")] = 0,
) -> None:
    """Train a model of machine faults on simulated machines.

    Ctrl-C leaves a run that the same command resumes.

    Example: iotlam faults train --out runs/mine --machines 2000 --steps 1500
    """
    from dataclasses import replace

    from iotlam_faults.train import LEARNING, Run, TrainConfig

    names = tuple(dict.fromkeys(name.strip() for name in modalities.split(",") if name.strip()))
    if not names:
        raise BadInput("--modalities", expected="comma-separated names", got="none", fix="name at least one")
    learning = replace(LEARNING, steps=steps, seed=seed)
    config = TrainConfig(machines, modalities=names, decoder=decoder, learning=learning, workers=workers, seed=seed)
    typer.echo(f"model in {Run(out, config).go()}")


@app.command()
def fit(
    out: Annotated[Path, typer.Option(help="Folder of the head.")] = Path("runs/head"),
    data: Annotated[str, typer.Option("--set", help="A public data set.")] = "cwru",
    folder: Annotated[Path | None, typer.Option(help="Or a folder of own recordings with a catalogue.csv.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of the pretrained model; default: as shipped.")] = None,
    window_s: Annotated[float, typer.Option(min=0.1, max=60.0, help="Length of a window, seconds.")] = 1.0,
    root: Root = None,
) -> None:
    """Fit a head to recordings of damaged bearings, for `diagnose --head`; the pretrained model stays as it is.

    How good it is on bearings that it has not seen, `evaluate` tells.

    Examples: iotlam faults fit --out heads/cwru

    iotlam faults fit --folder my-recordings --out heads/plant
    """
    from iotlam_faults.recordings import cut
    from iotlam_faults.trained import Trained

    check_writable("--out", out)
    trained = Trained.fit(cut(_waves(data, folder, root), window_s), model)
    trained.save(out)
    typer.echo(f"head in {out}, fitted to {len(trained.facts.bearings)} bearings")


@app.command()
def evaluate(
    protocol: Annotated[
        str,
        typer.Option(
            help="rosa, unseen-bearing-and-load, unseen-machine, unseen-bearing, leave-one-load-out or random-windows."
        ),
    ] = "rosa",
    data: Annotated[str, typer.Option("--set", help="A public data set.")] = "cwru",
    folder: Annotated[Path | None, typer.Option(help="Or a folder of own recordings with a catalogue.csv.")] = None,
    methods: Annotated[str, typer.Option(help="Comma-separated; default: all.")] = "",
    model: Annotated[Path | None, typer.Option(help="Folder of the pretrained model; default: as shipped.")] = None,
    window_s: Annotated[float, typer.Option(min=0.1, max=60.0, help="Length of a window, seconds.")] = 1.0,
    splits: Annotated[int | None, typer.Option(min=1, help="Only the first so many splits.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the bearings of every split first.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate ours and its rivals on splits that cannot leak, beside what leaky ones would have flattered them.

    Examples: iotlam faults evaluate --protocol rosa

    iotlam faults evaluate --protocol unseen-bearing-and-load --methods forest,iotlam --json

    iotlam faults evaluate --folder my-recordings --protocol unseen-bearing --show
    """
    from iotlam.training.progress import progress
    from iotlam_faults.evaluate import Bench, run_splits, summary
    from iotlam_faults.federated import check_unlearnt
    from iotlam_faults.methods import find_methods
    from iotlam_faults.model import load_model
    from iotlam_faults.protocols import find_protocol, random_windows
    from iotlam_faults.recordings import cut
    from iotlam_faults.typed import of_evaluation

    chosen, names, shipped_or_own = find_protocol(protocol), find_methods(methods), load_model(model)
    recordings = cut(_waves(data, folder, root), window_s)
    found = list(chosen(recordings.windows))[:splits]
    if not found:
        got, fix = "none of these recordings", "add recordings, or choose another"
        raise BadInput("--protocol", expected=f"recordings that '{protocol}' can split", got=got, fix=fix)
    if model:
        check_unlearnt(model, found, recordings.windows)
    for split in found if show else ():
        typer.echo(str(split), err=True)
    leaky = [] if found[0].leaky else list(random_windows(recordings.windows))
    bench = Bench.of(recordings, shipped_or_own)
    baselines = bench.baselines_in_words()
    for part, said in baselines.items():
        typer.echo(f"healthy baseline at {part}: {said}", err=True)
    with progress(f"Splits of {protocol}", total=len(found) + len(leaky)) as step:
        rows = run_splits(bench, found + leaky, names, workers=workers, on_done=step)
    table = [summary(rows, name) for name in names]
    source = str(folder) if folder else data
    typed = of_evaluation(protocol, data, folder, methods, model, window_s, splits)
    command = " ".join(["iotlam faults evaluate", *typed, "--json"])
    whole = {"protocol": protocol, "set": source, "command": command, "baselines": baselines, "figures": table}
    shown = [{key: "" if value is None else value for key, value in one.items()} for one in table]
    print_rows(shown, as_json, {**whole, "splits": rows})


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="What `iotlam faults evaluate --json` printed.")],
    out: Annotated[Path, typer.Option(help="The page (.html).")] = Path("evaluation.html"),
) -> None:
    """Draw the page of an evaluation: every split, honest beside leaky, what is taken for what.

    Example: iotlam faults evaluate --json > rosa.json && iotlam faults report rosa.json --out rosa.html
    """
    from iotlam_faults.evaluation_page import read_evaluation, write_page

    check_page_path("--out", out)
    found = read_evaluation(result)
    commands = [f"{found['command']} > {result.name}"]
    commands.append(f"iotlam faults report {result.name} --out {out.name}")
    typer.echo(f"page: {write_page(found, out, commands)}")


@app.command()
def monitor(
    broker: Annotated[
        str | None, typer.Option(help="An MQTT 5 broker: mqtt://host:1883, or mqtts://user:password@host.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Simulated machines of which one wears out; no broker.")] = False,
    forget: Annotated[
        str | None, typer.Option(help="A machine to be learnt anew, as after a repair; no monitor may be at work.")
    ] = None,
    state: Annotated[Path, typer.Option(help="Folder of what it knows; started again, it goes on.")] = Path(
        "runs/monitor"
    ),
    page: Annotated[Path | None, typer.Option(help="The live page (.html); default: in the folder.")] = None,
    learning: Annotated[int, typer.Option(min=2, help="Windows from which a machine's baseline is learnt.")] = 20,
    raise_at: Annotated[float, typer.Option(min=0.1, help="Change that counts; less is more sensitive.")] = 2.0,
    windows: Annotated[int, typer.Option(min=25, help="Of the demo: windows of each machine.")] = 70,
    pace_s: Annotated[float, typer.Option(min=0.0, max=10.0, help="Of the demo: seconds a window.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of the demo.")] = 0,
) -> None:
    """Watch live machines: waveforms come by MQTT, features and alarms go out, and none is lost.

    Examples: iotlam faults monitor --demo

    iotlam faults monitor --broker mqtt://plant.local --state /var/lib/iotlam
    """
    from iotlam_faults.monitor import run
    from iotlam_faults.monitor.alarm import Rules

    if (given := demo + (broker is not None) + (forget is not None)) != 1:
        got, fix = "several" if given else "none", "as in --broker mqtt://localhost, or --demo"
        raise BadInput("--broker", expected="it, --demo or --forget", got=got, fix=fix)
    if forget is not None:
        run.forget(state, forget)
        typer.echo(f"{forget} is learnt anew from its next windows", err=True)
        return
    place = page or state / "monitor.html"
    check_page_path("--page", place)
    check_writable("--state", state)
    _finite("--raise-at", raise_at)
    rules = Rules(learning=learning, raise_at=raise_at, clear_at=0.7 * raise_at)
    if broker is not None:
        run.run_service(broker, state, place, rules)
    else:
        run.run_demo(state, place, rules, windows, pace_s, seed)


def _finite(option: str, value: float) -> None:
    """Refuse what is no number: it passes every check of a range."""
    if not math.isfinite(value):
        raise BadInput(option, expected="a number", got=f"{value}", fix="give one")


def _waves(data: str, folder: Path | None, root: Path | None) -> list[Waveform]:
    from iotlam_faults.data.folder import own_waveforms
    from iotlam_faults.data.store import Store, default_root
    from iotlam_faults.recordings import of_set

    return own_waveforms(folder) if folder else of_set(Store(root or default_root()), data)


def _trained(folder: Path) -> Trained:
    from iotlam_faults.trained import Trained

    return Trained.load(folder)


def _geometry(text: str) -> Bearing:
    from iotlam_machine.bearings import Bearing

    names = ("balls", "ball_mm", "pitch_mm", "contact_deg")
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not all(map(math.isfinite, numbers)):
        numbers = []
    if len(numbers) not in (3, 4) or numbers[0] != round(numbers[0]):
        got, fix = f"'{text}'", "as in --geometry 9,7.94,39.04"
        raise BadInput("--geometry", expected="balls, ball mm, pitch mm and, if not 0, contact angle", got=got, fix=fix)
    raw = dict(zip(names, numbers, strict=False))
    return Bearing.from_raw({**raw, "balls": round(numbers[0])}, "--geometry")


def _set_row(store: Store, name: str) -> Json:
    from iotlam_faults.data.catalogue import downloads, entries, find_set

    files, known = downloads(name), entries(name)
    here = sum(store.find(one) is not None for one in files)
    return {
        "set": name,
        "files": f"{here}/{len(files)}",
        "MB": round(sum(one.bytes for one in files) / 1e6),
        "bearings": len({entry.bearing for entry in known}),
        "licence": find_set(name).licence,
        "title": find_set(name).title,
    }


def _recording(raw: Json) -> Json:
    columns = "file member channel bearing model part faults severity_mm load rpm rate_hz doubt".split()
    return {
        key: "+".join(raw[key]) or "-" if key == "faults" else "" if raw[key] is None else raw[key] for key in columns
    }
