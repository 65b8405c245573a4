"""The door: `stillhouse run | check | evaluate | export | sweep | ui | explain | verify | gc`.

Commands import what they need when they run, so that help answers at once and `verify` works without torch.
Exit codes: 0 done, 1 a package that is not what it says, a sweep with a run that failed, an evaluation of which a part
failed, or a machine without room, 2 wrong input, 3 blocked by a gate.
"""

import argparse
import json
import logging
import os
import sys
from functools import partial
from pathlib import Path

from stillhouse.errors import InputError
from stillhouse.failures import advice

DONE, DIFFERS, WRONG_INPUT, BLOCKED = 0, 1, 2, 3


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(command(sys.argv[1:]))


def command(arguments: list[str]) -> int:
    """Run one command and give its exit code; what a person can mend is printed without a traceback."""
    options = _parser().parse_args(arguments)
    # Threads that spin while they wait take a busy machine's cores from those that work (a training step of 3 seconds
    # takes 16); threads that never do take a quarter longer on a machine that is idle. So they spin briefly.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"
    # A flow that this process runs and that is killed is to be known as crashed: docs/operate.md.
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    # Libraries warn about what is none of a user's business; ours speak through progress and errors.
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    try:
        match options.command:
            case "run":
                return _run(options.recipe, options.runs)
            case "check":
                return _check(options.recipe, options.runs)
            case "evaluate":
                return _evaluate(options)
            case "export":
                return _export(options)
            case "sweep":
                return _sweep(options)
            case "ui":
                return _ui(options)
            case "explain":
                return _explain(options.folder)
            case "verify":
                return _verify(options.package, options.digest)
            case _:
                return _gc(options.runs, options.dry_run)
    except InputError as error:
        print(f"stillhouse: {error}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("stillhouse: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        # Prefect's own class; this module does not import Prefect.
        if type(error).__name__ == "CancelledRun":
            print("stillhouse: cancelled; the same command goes on from here", file=sys.stderr)
            return 130
        advised = advice(error)
        if advised is None:
            raise
        print(f"stillhouse: {advised}", file=sys.stderr)
        return DIFFERS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stillhouse", description="Teacher model in, serving-ready student out.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="compress a teacher as a recipe says (exit 3: blocked by a gate)")
    check = commands.add_parser("check", help="find in seconds what is wrong with a recipe, and what it will cost")
    for one in (run, check):
        one.add_argument("recipe", type=Path, help="a YAML file, as recipes/demo.yaml")
        one.add_argument("--runs", type=Path, default=Path("runs"), help="holds all that runs make (default: runs)")
    _add_evaluate(
        commands.add_parser("evaluate", help="score a model, or each variant of a package (exit 1: one failed)")
    )
    _add_export(commands.add_parser("export", help="variants and package of a model that exists (exit 3: blocked)"))
    _add_sweep(
        commands.add_parser("sweep", help="one recipe with several changes, and a comparison (exit 1: one failed)")
    )
    ui = commands.add_parser("ui", help="a Prefect server on loopback, its deployments and a worker, until Ctrl-C")
    ui.add_argument("--port", type=int, default=4200, help="of the server (default: 4200)")
    ui.add_argument("--home", type=Path, default=Path(".prefect"), help="database, logs (default: .prefect)")
    ui.add_argument(
        "--accelerators", type=int, help="stages that train or measure at once (default: as last time, or 1)"
    )
    explain = commands.add_parser("explain", help="say where a package or run comes from")
    explain.add_argument("folder", type=Path, help="a package or a run's folder")
    verify = commands.add_parser(
        "verify", help="check a package: checksums, loading, smoke prompts (exit 1: it differs)"
    )
    verify.add_argument("package", type=Path, help="a package's folder")
    verify.add_argument("--digest", type=_digest, help="SHA-256 that it must have over its files, from its run's page")
    gc = commands.add_parser("gc", help="delete what no run's folder needs any more")
    gc.add_argument("--runs", type=Path, default=Path("runs"), help="as for run (default: runs)")
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    return parser


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a package, a run's folder, or a model: hub id, folder, .gguf, package:NAME")
    parser.add_argument("--variant", help="only this variant of a package (default: all)")
    parser.add_argument(
        "--benchmarks", type=_names_or_none, help="instead of the default ones: names with commas between, or none"
    )
    parser.add_argument(
        "--behaviour", type=_names_or_none, help="instead of all suites: names with commas between, or none"
    )
    parser.add_argument("--suite", help="a file of recipes/suites, as quick; what is given beside it goes before it")
    parser.add_argument("--documents", type=int, help="documents of each benchmark (default: the suite's, or 100)")
    parser.add_argument(
        "--limit",
        type=int,
        help="at most so many documents of each, prompts and harmful texts among them, whatever the suite says",
    )
    parser.add_argument("--json", type=Path, help="write the scores to this file too")
    parser.add_argument("--device", default="auto", help="a torch device (default: auto)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="as for run (default: runs)")


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a YAML file, as for run")
    parser.add_argument("--changes", type=Path, required=True, help="a YAML list, an entry a run, as `- {layers: 12}`")
    parser.add_argument("--workers", type=int, default=1, help="runs at once (default: 1)")
    parser.add_argument("--runner", choices=("local", "dask"), default="local", help="where they run (default: local)")
    parser.add_argument("--scheduler", default="", help="of a Dask cluster, as tcp://host:8786")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="as for run (default: runs)")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a run's folder, or a model: hub id, folder, .gguf, package:NAME")
    parser.add_argument("--to", required=True, help="where the package goes: a new folder")
    parser.add_argument("--recipe", help="of the export of a model (default: recipes/export.yaml); a run has its own")
    parser.add_argument("--variants", type=_names, default=(), help="instead of the recipe's: names, commas between")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="as for run (default: runs)")


def _names(text: str) -> tuple[str, ...]:
    if not text.strip():
        raise argparse.ArgumentTypeError("names are missing: give some, with commas between")
    return tuple(name.strip() for name in text.split(","))


def _names_or_none(text: str) -> tuple[str, ...]:
    return () if text == "none" else _names(text)


def _run(recipe: Path, runs: Path) -> int:
    from flows.compress import check_recipe, compress
    from flows.run_folder import carry_out, summary
    from flows.server import is_usable
    from flows.work import directly
    from stillhouse import terminal
    from stillhouse.recipe.changes import NO_CHANGES

    with terminal.shown():
        # Before the flow starts: a wrong recipe is the author's to mend, not a failed run for the server to keep.
        asked = check_recipe(recipe, NO_CHANGES, runs)
        if is_usable():
            verdict, path = compress(recipe=str(recipe), runs=str(runs)).values()
        else:
            folder = carry_out(asked, directly)
            verdict, path = folder.verdict, str(folder.path)
    print(summary(Path(path)))
    return DONE if verdict == "passed" else BLOCKED


def _evaluate(options: argparse.Namespace) -> int:
    from flows.evaluate_model import (
        SCORES,
        Wish,
        check_evaluation,
        evaluate,
        failures,
        flow_parameters,
        request_of,
        run_evaluation,
        table,
    )
    from flows.server import is_usable
    from flows.work import directly
    from stillhouse import terminal

    wish = Wish(
        model=options.model,
        variant=options.variant,
        suite=options.suite,
        benchmarks=options.benchmarks,
        documents=options.documents,
        limit=options.limit,
        behaviour=options.behaviour,
        device=options.device,
    )
    request = request_of(wish)
    if options.json is not None:
        _refuse_unwritable(options.json)
    with terminal.shown():
        # As in `_run`: a wrong request is its author's to mend, not a failed run for the server to keep.
        checked = check_evaluation(request)
        if is_usable():
            folder = Path(evaluate(**flow_parameters(wish), runs=str(options.runs))["run"])
        else:
            folder = run_evaluation(request, checked, options.runs, directly)
    text = (folder / SCORES).read_text(encoding="utf-8")
    if options.json is not None:
        options.json.write_text(text, encoding="utf-8")
    print(f"{table(json.loads(text))}\nscores  {folder / SCORES}")
    return DIFFERS if failures(json.loads(text)) else DONE


def _refuse_unwritable(path: Path) -> None:
    """Before minutes of work, not after them."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"--json {path} cannot be written: give a file in a folder that exists")


def _export(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from flows.export_model import ExportRequest, check_export, export, run_export
    from flows.run_folder import summary
    from flows.server import is_usable
    from flows.work import directly
    from stillhouse import terminal

    request = ExportRequest(source=options.source, to=options.to, recipe=options.recipe, variants=options.variants)
    with terminal.shown():
        asked = check_export(request, options.runs)
        if is_usable():
            told = {name: value for name, value in asdict(request).items() if value is not None}
            verdict, path = export(**told, runs=str(options.runs)).values()
        else:
            folder = run_export(asked, request, directly)
            verdict, path = folder.verdict, str(folder.path)
    print(summary(Path(path)))
    if verdict == "passed":
        print(f"copied to  {options.to}")
    return DONE if verdict == "passed" else BLOCKED


def _sweep(options: argparse.Namespace) -> int:
    from flows.server import is_usable
    from flows.side_by_side import Places, in_threads
    from flows.sweep import sweep
    from flows.sweep_entries import RunsFailed, Sweep, check_sweep, run_sweep, summary_of
    from flows.work import directly
    from stillhouse import terminal
    from stillhouse.recipe.changes_file import load_changes

    changes = load_changes(options.changes)
    places = Places(options.runner, options.workers, options.scheduler)
    asked = Sweep(options.recipe, changes, places, options.runs)
    with terminal.shown():
        entries = check_sweep(asked)
        if is_usable():
            where = {"recipe": str(options.recipe), "runs": str(options.runs), "scheduler": options.scheduler}
            told = {"changes": changes, "runner": options.runner, "workers": options.workers}
            try:
                folder, code = Path(sweep(**where, **told)["run"]), DONE
            except RunsFailed as failure:
                folder, code = failure.folder, DIFFERS
        else:
            swept = run_sweep(asked, entries, in_threads, directly)
            folder, code = swept.folder, DIFFERS if any(run.failed for run in swept.runs) else DONE
    print(summary_of(folder))
    return code


def _ui(options: argparse.Namespace) -> int:
    from flows.operate import operate

    return operate(options.port, options.home, options.accelerators)


def _check(recipe: Path, runs: Path) -> int:
    from flows.preflight import check

    print(check(recipe, runs))
    return DONE


def _explain(folder: Path) -> int:
    from stillhouse.store.lineage import explain

    print(explain(folder))
    return DONE


def _verify(package: Path, digest: str | None) -> int:
    from export.verify import verify
    from stillhouse.store.artifact import read_manifest

    problems = verify(package, digest)
    if problems:
        print("\n".join(problems))
        return DIFFERS
    print(f"{package} is what it says: checksums, loading and smoke prompts agree")
    told = "as you said" if digest else "compare it with the one on its run's page, or give that as --digest"
    print(f"SHA-256 over its files: {read_manifest(package).digest} ({told})")
    return DONE


def _digest(text: str) -> str:
    """A SHA-256, or its beginning.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if not 12 <= len(text) <= 64 or set(text.lower()) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256: give 12 to 64 hexadecimal digits")
    return text


def _gc(runs: Path, dry_run: bool) -> int:
    from flows.run_folder import references_of_runs
    from stillhouse.store.collect import collect

    freed = collect(runs.resolve() / "store", partial(references_of_runs, runs.resolve()), dry_run=dry_run)
    print("\n".join(freed) or "nothing to delete: a run's folder needs every artifact")
    return DONE


if __name__ == "__main__":
    main()
