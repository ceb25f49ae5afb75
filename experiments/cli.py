"""What a person types to run Dyna.

Later wins: the preset, then `--config`, then `--smoke`, then the options themselves.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from rich.console import Console
from rich.markup import escape

from experiments.config import read_config
from experiments.keywords import REGISTRY
from experiments.presets import PRESETS, PresetName, smoke
from experiments.stopping import STOPPED, stoppable
from rl.checks import check_settings
from rl.settings import Settings
from worldmodel.bounds import check_bounds
from worldmodel.errors import UserError
from worldmodel.files import is_full_disk
from worldmodel.latent.config import BaseConfig

PROGRAM = "python experiments/dyna.py"
NO_BASE = "none"
"""what --base is given to begin without any"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the settings begin from."""

    preset: PresetName = "cartpole"
    """the settings to begin from"""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """a TOML or JSON file of settings, over the preset's; a run's own config.json is one"""
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """cut the run to two or three minutes"""


@dataclass(frozen=True, kw_only=True)
class SettingsOptions(Settings, Start):
    """Every setting, and what they begin from."""

    ray_address: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """join this running Ray cluster; the same as --cluster.address"""
    base: Annotated[str | None, tyro.conf.arg(metavar="FOLDER-OR-ID")] = None
    """begin from this base: one of ours by name or folder, or Stable Diffusion 1.x or 2.x in diffusers' layout; none:
    from nothing; the same as --model.base.name"""

    @property
    def settings(self) -> Settings:
        """The settings alone, every path absolute: Ray's workers stand in another folder."""
        settings = Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})
        expert, policy = settings.collect.expert_policy, settings.imagine.policy
        return replace(
            settings,
            collect=replace(settings.collect, expert_policy=expert and expert.absolute()),
            imagine=replace(settings.imagine, policy=policy and policy.absolute()),
            cluster=replace(settings.cluster, address=self.ray_address or settings.cluster.address),
            model=replace(settings.model, base=self._base(settings)),
        )

    def _base(self, settings: Settings) -> BaseConfig:
        """What the latent family begins from; another family leaves the preset's base aside."""
        base = settings.model.base
        if settings.family != "latent" and not self.base and base.name == PRESETS[self.preset]().model.base.name:
            return replace(base, name=None)
        return _absolute(base, self.base)

    def run_name(self, settings: Settings) -> str:
        """What a run with `settings`, begun from these options, is called if nobody names it."""
        dream = "" if settings.imagine.dream == "model" else f"-{settings.imagine.dream}"
        return f"{self.common_name}{dream}-seed{settings.seed}"

    @property
    def common_name(self) -> str:
        """What runs begun from these options have in common in their names."""
        name, usual = self.settings.model.base.name, PRESETS[self.preset]().model.base.name
        latent = self.family == "latent"
        base = f"-{Path(name or NO_BASE).name.lower()}" if latent and name != usual else ""
        family = "" if latent else f"-{self.family}"
        return f"{self._game_name()}{family}{base}{'-smoke' if self.smoke else ''}"

    def _game_name(self) -> str:
        """The preset's name, or that of another game than the preset's."""
        if self.game.id == PRESETS[self.preset]().game.id:
            return self.preset
        return self.game.id.rpartition("/")[2].replace(":", "-").lower()


@dataclass(frozen=True, kw_only=True)
class Options(SettingsOptions):
    """Play a game, learn it, train an agent in the dream, judge it in the real game, and round again.

    The same command again goes on from the last finished round. What the options show as default is what the preset,
    the config file and --smoke before them make it.
    """

    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """the run's folder in --runs-dir; None: made of preset or game, family, base, dream and seed"""
    runs_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs")
    """where runs are kept"""
    record: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """at the end, add this run's returns to a JSON file of results, under its seed"""

    @property
    def run_path(self) -> Path:
        """The run's folder."""
        return (self.runs_dir / (self.name or self.run_name(self.settings))).absolute()


Parsed = TypeVar("Parsed", bound=SettingsOptions)


def parse_options(arguments: Sequence[str]) -> Options:
    """The options of a run, checked; see `parse_settings`."""
    return parse_settings(Options, arguments, PROGRAM)


def parse_settings(kind: type[Parsed], arguments: Sequence[str], program: str) -> Parsed:
    """The options of the kind that `program` takes, checked.

    Raises:
        UserError: If the config file or a setting is wrong.
        SystemExit: After showing the help, or what is wrong with an option.
    """
    start, _ = tyro.cli(Start, args=arguments, return_unknown_args=True, add_help=False, prog=program)
    settings = _settings(start)
    default = kind(**{field.name: getattr(settings, field.name) for field in fields(Settings)})
    options = tyro.cli(kind, args=arguments, default=default, prog=program, registry=REGISTRY)
    check_bounds(options)
    check_settings(options.settings)
    return options


def run_main(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a script's `main`, showing what a user can mend as one sentence. Returns the exit status.

    A game of one's own may lie in the folder where the script is started.
    """
    sys.path.append(str(Path.cwd()))
    try:
        with stoppable():
            return main(arguments)
    except KeyboardInterrupt:
        Console().print("\nStopped.")
        return STOPPED
    except UserError as error:
        # Ray wraps what an actor raises into an error of the same class whose text is a traceback.
        return _refuse(str(getattr(error, "cause", error)))
    except OSError as error:
        if not is_full_disk(error):
            raise
        return _refuse("a disk is full, perhaps that of temporary files: make room and give the same command again.")


def _refuse(sentence: str) -> int:
    Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)
    return 2


def _absolute(base: BaseConfig, name: str | None) -> BaseConfig:
    """The base, perhaps by another name; a folder's is made absolute, a hub id stays as it is."""
    name = name or base.name
    if name == NO_BASE:
        return replace(base, name=None)
    folder = Path(name).expanduser() if name else None
    return replace(base, name=str(folder.absolute()) if folder and folder.is_dir() else name)


def _settings(start: Start) -> Settings:
    settings = PRESETS[start.preset]()
    if start.config:
        settings = read_config(start.config, settings)
    return smoke(settings) if start.smoke else settings
