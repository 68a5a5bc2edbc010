"""The command line. Each command is one function here and one line in `COMMANDS`; the work is done in its own module.

Modules that import torch, a simulator or a dataset library are imported by the function that needs them, so that
`robovlms --help` answers at once.
"""

import os
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

from robovlms.data_commands import add_data_flags, run_data
from robovlms.errors import ConfigError, RoboVLMsError, unknown_name
from robovlms.extras import missing_dependency
from robovlms.robot_commands import add_robot_flags, run_robot_command

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


@dataclass(frozen=True, kw_only=True)
class Command:
    """One sub-command.

    Attributes:
        help: what it does, one line.
        add_flags: declares its flags.
        run: does the work.
        example: a command line that works.
        resume_flag: what the same command needs in order to go on after an interruption.
    """

    help: str
    add_flags: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]
    example: str
    resume_flag: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 2 for an error the user can act on, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # PyTorch's threads spin while they wait for each other. Beside another busy process that made training 19 times as
    # slow; a short spin does not, and costs nothing alone (docs/log.md). Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        flags = _parse(arguments)
        COMMANDS[flags.command].run(flags)
    except RoboVLMsError as error:
        return _fail(error)
    except ModuleNotFoundError as error:
        missing = missing_dependency(error)
        if missing is None:
            raise
        return _fail(missing)
    except KeyboardInterrupt:
        print(f"\ninterrupted; to go on: {_resume_line(arguments)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _fail(error: RoboVLMsError) -> int:
    print("error: " + " ".join(str(error).split("\n")), file=sys.stderr)
    return EXIT_ERROR


def _resume_line(arguments: list[str]) -> str:
    flag = COMMANDS[arguments[0]].resume_flag if arguments and arguments[0] in COMMANDS else ""
    return shlex.join(["robovlms", *arguments, *([flag] if flag and flag not in arguments else [])])


# ---------------------------------------------------------------------------------------------------------- parsing


class _Parser(ArgumentParser):
    """Reports an error in one line and exits with code 2."""

    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter, **settings)  # type: ignore

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(EXIT_ERROR)


def _parse(arguments: list[str]) -> Namespace:
    parser = _Parser(
        prog="robovlms",
        description="Turn a vision-language model into a robot policy: train it, prove it in a simulator.",
        epilog="The whole way in one command: robovlms demo\nFlags of a command: robovlms COMMAND --help",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    if not arguments:
        parser.print_help(sys.stderr)
        raise SystemExit(EXIT_ERROR)
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        parser.error(unknown_name("command", arguments[0], COMMANDS))
    for name, command in COMMANDS.items():
        example = f"example:\n  {command.example}"
        one = commands.add_parser(name, help=command.help, description=command.help, epilog=example)
        if arguments[:1] == [name]:
            command.add_flags(one)
            _check_options(one, arguments[1:])
    return parser.parse_args(arguments)


def _check_options(parser: ArgumentParser, arguments: list[str]) -> None:
    """Name the nearest option for a mistyped one, before anything else is wrong because of it."""
    actions = next((action.choices for action in parser._actions if isinstance(action, _SubParsersAction)), {})
    if actions and arguments and not arguments[0].startswith("-"):
        if arguments[0] not in actions:
            parser.error(unknown_name("action", arguments[0], actions))
        return _check_options(actions[arguments[0]], arguments[1:])
    known = [option for action in parser._actions for option in action.option_strings]
    for argument in arguments:
        option = argument.partition("=")[0]
        if option.startswith("--") and option not in known:
            parser.error(unknown_name("option", option, known))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _names(values: list[str]) -> tuple[str, ...]:
    """Names separated by spaces, by commas, or both."""
    names = tuple(name for value in values for name in value.split(",") if name)
    if not names:
        raise ConfigError(f"expected names, got {' '.join(values)!r}")
    return names


# --------------------------------------------------------------------------------------------------------- commands


def _demo_flags(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder of what it makes; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="of data, weights and evaluation; default: %(default)s")
    parser.add_argument("--workers", type=_count, default=2, help="parallel simulators; default: %(default)s")


def _demo(flags: Namespace) -> None:
    from robovlms.demo import run_demo

    run_demo(out=flags.out, seed=flags.seed, workers=flags.workers)


def _collect_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--env", default="metaworld", help="simulator; default: %(default)s")
    add("--tasks", nargs="+", required=True, metavar="TASK", help="task names, separated by spaces or commas")
    add("--episodes", type=_count, default=30, help="successful episodes per task; default: %(default)s")
    add("--out", type=Path, required=True, help="folder of the dataset, LeRobot v3.0 layout")
    add("--image_size", type=_count, default=96, help="height and width of a frame in pixels; default: %(default)s")
    add("--camera", default="corner4", help="camera of the simulator; default: %(default)s")
    add(
        "--render_quality",
        choices=("fast", "reference"),
        default="fast",
        help="fast leaves out shadows, reflections and anti-aliasing; recorded in the dataset; default: %(default)s",
    )
    add(
        "--noise",
        type=float,
        default=0.1,
        help="standard deviation of the noise on executed arm actions, which makes the data show how to recover; the "
        "recorded action is the expert's; default: %(default)s",
    )
    add("--seed", type=int, default=0, help="of the first episode of each task; default: %(default)s")
    add("--workers", type=_count, default=2, help="parallel simulators, for the same data; default: %(default)s")
    add("--storage", choices=("png", "video"), default="png", help="how frames are stored; default: %(default)s")


def _collect(flags: Namespace) -> None:
    from robovlms.evaluate.collect import collect

    collect(
        env=flags.env,
        tasks=_names(flags.tasks),
        episodes=flags.episodes,
        out=flags.out,
        image_size=flags.image_size,
        camera=flags.camera,
        render_quality=flags.render_quality,
        noise=flags.noise,
        seed=flags.seed,
        workers=flags.workers,
        storage=flags.storage,
    )


def _train_flags(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="YAML file with what differs from the defaults, or a JSON of the original RoboVLMs",
    )
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="values that differ from the file"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of train.out")
    parser.epilog = f"{parser.epilog}\n\nkeys and their defaults:\n{_config_help()}"


def _config_help() -> str:
    import textwrap

    from robovlms.config import (
        AugmentConfig,
        DataConfig,
        EvaluateConfig,
        LoRAConfig,
        ModelConfig,
        ResamplerConfig,
        SourceConfig,
        TokenizerConfig,
        TrainConfig,
        VisionLanguageConfig,
        VLMConfig,
        field_docs,
    )

    sections = {
        "model": ModelConfig(), "model.vlm": VLMConfig(), "model.tokenizer": TokenizerConfig(),
        "model.resampler": ResamplerConfig(), "model.lora": LoRAConfig(), "data": DataConfig(),
        "data.augment": AugmentConfig(), "data.vision_language": VisionLanguageConfig(),
        "data.mixture[0]": SourceConfig(path=Path("DIR")), "train": TrainConfig(),
        "evaluate": EvaluateConfig(),
    }  # fmt: skip
    lines = []
    for name, section in sections.items():
        docs = field_docs(type(section))
        for field in fields(section):
            value = getattr(section, field.name)
            if f"{name}.{field.name}" not in sections:
                text = f"{name}.{field.name} ({value}): {docs[field.name]}"
                lines.append(textwrap.fill(text, 110, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(lines)


def _train(flags: Namespace) -> None:
    from robovlms.config import load_config

    config = load_config(flags.config, flags.set)  # before torch is imported: a mistake is reported at once

    from robovlms.train.run import train_from_config

    train_from_config(config, resume=flags.resume)


def _evaluate_flags(parser: ArgumentParser) -> None:
    from robovlms.config import EvaluateConfig, field_docs

    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="checkpoint or run folder (its newest checkpoint)"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of episodes and report; default: evaluation/ in the run folder"
    )
    group = parser.add_argument_group("evaluation", "what is not given is taken from the configuration of the run")
    docs = field_docs(EvaluateConfig)
    for field in fields(EvaluateConfig):
        if field.name == "tasks":
            group.add_argument("--tasks", nargs="+", metavar="TASK", help=docs["tasks"])
        else:
            group.add_argument(f"--{field.name}", metavar="NAME" if field.name == "env" else "N", help=docs[field.name])


def _evaluate(flags: Namespace) -> None:
    from robovlms.config import EvaluateConfig
    from robovlms.evaluate.run import evaluate_checkpoint

    given = {field.name: getattr(flags, field.name) for field in fields(EvaluateConfig)}
    if flags.tasks is not None:
        given["tasks"] = list(_names(flags.tasks))
    overrides = {f"evaluate.{name}": value for name, value in given.items() if value is not None}
    evaluate_checkpoint(flags.checkpoint, overrides=overrides, out=flags.out)


def _info_flags(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="dataset folder, configuration file, checkpoint folder or run folder")


def _info(flags: Namespace) -> None:
    from robovlms.info import show_info

    show_info(flags.path)


def _verify_flags(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder, or run folder for its newest checkpoint")


def _verify(flags: Namespace) -> None:
    from robovlms.policy.verify import verify_checkpoint

    result = verify_checkpoint(flags.checkpoint)
    print(
        f"{flags.checkpoint}: {result.num_samples} parity samples give the same actions here; largest difference "
        f"{result.max_difference:.1e} of the range, accepted {result.tolerance:.1e}"
    )


def _convert_flags(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=["original"], help="what the checkpoint is of: the original RoboVLMs")
    parser.add_argument("--checkpoint", type=Path, required=True, help="its .pt, .ckpt or .safetensors")
    parser.add_argument("--config", type=Path, required=True, help="its training configuration, a JSON")
    parser.add_argument("--vlm", type=Path, required=True, help="folder with the VLM's config.json and tokenizer")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")


def _convert(flags: Namespace) -> None:
    from rich.console import Console

    from robovlms.model.convert_original import convert_original, table_of

    done = convert_original(flags.checkpoint, flags.config, flags.vlm, flags.out)
    Console(highlight=False).print(table_of(done))
    print(f"next: robovlms verify {done.out}")


COMMANDS = {
    "demo": Command(
        help="The whole way on a simulated robot: demonstrations, training, evaluation, report; needs no download.",
        add_flags=_demo_flags,
        run=_demo,
        example="robovlms demo --out runs/demo",
    ),
    "collect": Command(
        help="Record demonstrations of a simulator's scripted experts as a dataset.",
        add_flags=_collect_flags,
        run=_collect,
        example="robovlms collect --tasks button-press-v3 drawer-open-v3 --episodes 30 --out runs/data",
    ),
    "data": Command(
        help="Inspect, validate, convert or view a dataset, or compute its statistics.",
        add_flags=add_data_flags,
        run=run_data,
        example="robovlms data validate runs/data",
    ),
    "robot": Command(
        help="Run a robot behind its safety shield, parse a command, replay a log, check a configuration.",
        add_flags=add_robot_flags,
        run=run_robot_command,
        example='robovlms robot parse "go forward one meter, then turn left"',
    ),
    "train": Command(
        help="Train a policy on a dataset.",
        add_flags=_train_flags,
        run=_train,
        example="robovlms train --config configs/metaworld/tiny_one_step.yaml --set data.path=runs/data",
        resume_flag="--resume",
    ),
    "evaluate": Command(
        help="Try a policy in closed loop in a simulator; write each episode and a report with confidence intervals.",
        add_flags=_evaluate_flags,
        run=_evaluate,
        example="robovlms evaluate --checkpoint runs/train --episodes 20",
    ),
    "info": Command(
        help="Show what a dataset, a configuration, a checkpoint or a run holds.",
        add_flags=_info_flags,
        run=_info,
        example="robovlms info runs/data",
    ),
    "convert": Command(
        help="Turn a checkpoint of the original RoboVLMs into one of this package, to the same numbers.",
        add_flags=_convert_flags,
        run=_convert,
        example="robovlms convert original --checkpoint kosmos_ph.pt --config kosmos_ph.json --vlm kosmos-2 --out out",
    ),
    "verify": Command(
        help="Check that a checkpoint gives the same actions on this machine as where it was trained.",
        add_flags=_verify_flags,
        run=_verify,
        example="robovlms verify runs/train",
    ),
}

if __name__ == "__main__":
    raise SystemExit(main())
