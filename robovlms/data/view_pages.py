"""The HTML of a view; `templates/` holds what does not change. Every text of a dataset is escaped here."""

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from robovlms.data.sources.base import EpisodeSource
from robovlms.data.view_curves import LEFT, RIGHT, WIDTH, Curve, action_curves, draw_curve, number, proprio_curves
from robovlms.data.view_episode import EpisodeView, evenly
from robovlms.errors import StatisticsMissingError

_TEMPLATES = Path(__file__).parent / "templates"
_THUMBNAILS = 6
_COLUMNS = 6  # of the table of episodes
_SHORTEST_INTERVAL_MS = 15


def page_name(episode: int) -> str:
    """File of an episode's page.

    >>> page_name(12)
    'episode_000012.html'
    """
    return f"episode_{episode:06}.html"


def episode_page(source: EpisodeSource, episode: EpisodeView) -> str:
    """The page of one episode."""
    actions = action_curves(source.action_space, episode.actions)
    proprio = [] if episode.proprio is None else proprio_curves(source.proprio_names, episode.proprio)
    title = f"Episode {episode.number} of {_name(source)}"
    facts = [title, f"task {episode.task}", _duration(source, len(episode))]
    is_thinned = len(episode.shown) < len(episode)
    curves = f'<h2>Proprioception</h2>\n      <div class="card">{"".join(map(draw_curve, proprio))}</div>'
    return _fill(
        "view_episode.html",
        title=escape(title),
        instruction=escape(episode.instruction),
        facts=escape(" · ".join(facts)),
        cameras=_cameras(source, episode),
        shown=f" · {len(episode.shown)} of {len(episode)} frames shown, evenly spread" if is_thinned else "",
        last=str(len(episode.shown) - 1),
        actions="".join(map(draw_curve, actions)),
        proprio=curves if proprio else "",
        data=_data(source, episode, [*actions, *proprio]),
    )


def episode_row(source: EpisodeSource, episode: EpisodeView) -> str:
    """A line of the index."""
    page, hz = page_name(episode.number), source.action_space.control_hz
    return (
        f'    <tr><td class="number"><a href="{page}">{episode.number}</a></td><td>{escape(episode.task)}</td>'
        f'<td class="text"><a href="{page}">{escape(episode.instruction)}</a></td>'
        f'<td class="number">{len(episode)}</td><td class="number">{len(episode) / hz:.1f}</td>'
        f'<td><div class="strip">{_strip(episode)}</div></td></tr>'
    )


def fault_row(episode: int, reason: str) -> str:
    """A line of the index for an episode that cannot be read."""
    return (
        f'    <tr><td class="number">{episode}</td>'
        f'<td class="text fault" colspan="{_COLUMNS - 1}">cannot be read: {escape(reason)}</td></tr>'
    )


def index_page(source: EpisodeSource, rows: Sequence[str]) -> str:
    """The page that lists the episodes."""
    space, steps = source.action_space, int(source.lengths.sum())
    cameras = ", ".join(f"{camera.name} {camera.width}×{camera.height}" for camera in source.cameras)
    facts = [
        f"{len(source)} episodes, {steps} steps, {steps / space.control_hz / 60:.1f} min at {space.control_hz:g} Hz",
        f"cameras: {cameras or 'none'}",
        f"actions: {'relative' if space.is_delta else 'absolute'}, {space.frame} frame",
    ]
    chosen = "All of them." if len(rows) == len(source) else f"{len(rows)} of {len(source)}, evenly spread."
    provenance = json.dumps(source.provenance, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    return _fill(
        "view_index.html",
        title=escape(_name(source)),
        facts=escape(" · ".join(facts)),
        chosen=chosen,
        rows="\n".join(rows),
        statistics=_statistics(source),
        provenance=escape(provenance),
    )


def _fill(template: str, **values: str) -> str:
    style = (_TEMPLATES / "view.css").read_text(encoding="utf-8")
    return Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values, style=style)


def _name(source: EpisodeSource) -> str:
    return source.path.resolve().name


def _duration(source: EpisodeSource, length: int) -> str:
    hz = source.action_space.control_hz
    return f"{length} steps, {length / hz:.1f} s at {hz:g} Hz"


def _cameras(source: EpisodeSource, episode: EpisodeView) -> str:
    """A picture per camera, filled by the page; and which ones are missing."""
    sizes = {camera.name: f"{camera.width}×{camera.height}" for camera in source.cameras}
    figures = [
        f'<figure><img alt="{escape(name)}" src="{_as_url(frames[0])}"><figcaption>{escape(name)} '
        f'<span class="soft">{sizes[name]}</span></figcaption></figure>'
        for name, frames in episode.frames.items()
    ]
    missing = [name for name in sizes if name not in episode.frames]
    note = f'<p class="soft">not recorded in this episode: {escape(", ".join(missing))}</p>' if missing else ""
    return "".join(figures) + note


def _strip(episode: EpisodeView) -> str:
    """Some frames of the first camera."""
    frames = next(iter(episode.frames.values()), ())
    return "".join(f'<img alt="" src="{_as_url(frames[i])}">' for i in evenly(len(frames), _THUMBNAILS).tolist())


def _data(source: EpisodeSource, episode: EpisodeView, curves: Sequence[Curve]) -> str:
    """What the page's script reads: JSON of numbers and pictures, no text of the dataset, so nothing to escape."""
    length, hz = len(episode), source.action_space.control_hz
    frames_apart = (length - 1) / max(1, len(episode.shown) - 1)
    data = {
        "length": length,
        "hz": hz,
        "interval_ms": max(_SHORTEST_INTERVAL_MS, round(1000 / hz * frames_apart)),
        "shown": episode.shown.tolist(),
        "frames": [[base64.b64encode(frame).decode() for frame in frames] for frames in episode.frames.values()],
        "values": [[_rounded(value) for value in curve.values.tolist()] for curve in curves],
        "left": LEFT,
        "right": RIGHT,
        "width": WIDTH,
    }
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def _rounded(value: float) -> float | None:
    return float(f"{value + 0.0:.4g}") if math.isfinite(value) else None


def _as_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _statistics(source: EpisodeSource) -> str:
    try:
        statistics = source.statistics
    except StatisticsMissingError as error:
        return f'<p class="soft">{escape(str(error))}</p>'
    space = source.action_space
    meanings = [f"{d.kind} [{d.unit}] {number(d.low)} … {number(d.high)}" for d in space.dimensions]
    tables = [("action", space.names, meanings), ("proprio", source.proprio_names, [""] * len(source.proprio_names))]
    columns = ("min", "q01", "mean", "q99", "max", "std")
    lines = [
        "<tr><th>number</th><th>declared</th>" + "".join(f'<th class="number">{c}</th>' for c in columns) + "</tr>"
    ]
    for feature, names, notes in tables:
        for i, (name, note) in enumerate(zip(names, notes, strict=True)):
            cells = [number(getattr(statistics[feature], column)[i]) for column in columns]
            lines.append(
                f"<tr><td>{feature} {escape(name)}</td><td>{escape(note)}</td>"
                + "".join(f'<td class="number">{cell}</td>' for cell in cells)
                + "</tr>"
            )
    return "<table>" + "\n".join(lines) + "</table>"
