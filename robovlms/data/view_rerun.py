"""Episodes as a recording for the rerun viewer; needs the `viz` extra.

::

    episode_000012/                a folder of entities per episode, on the timelines "step" and "time"
        instruction                text
        camera/<name>              the frames that the page shows, JPEG
        action/<name>              one number per step
        proprio/<name>
"""

from pathlib import Path
from typing import Any

import numpy as np

from robovlms.data.sources.base import EpisodeSource
from robovlms.data.view_episode import EpisodeView
from robovlms.extras import missing_dependency


class RerunRecording:
    """A `.rrd` file that is being written.

    Args:
        source: the dataset that the episodes are of.

    Raises:
        MissingDependencyError: if rerun is not installed.
    """

    def __init__(self, source: EpisodeSource) -> None:
        try:
            import rerun
        except ModuleNotFoundError as error:
            raise missing_dependency(error) or error from error
        self._rerun, self._source = rerun, source
        self._recording: Any = rerun.RecordingStream("robovlms_data", recording_id=source.fingerprint)

    def open(self, file: Path) -> None:
        """Write to a file from now on."""
        self._recording.save(file)

    def add(self, episode: EpisodeView) -> None:
        """Write one episode."""
        rr, folder = self._rerun, f"episode_{episode.number:06}"
        text = f"{episode.task}: {episode.instruction}"
        self._recording.log([folder, "instruction"], rr.TextDocument(text), static=True)
        for name, frames in episode.frames.items():
            media_types = ["image/jpeg"] * len(frames)
            pictures = rr.EncodedImage.columns(blob=list(frames), media_type=media_types)
            self._send([folder, "camera", name], episode.shown, pictures)
        steps, names = np.arange(len(episode)), self._source.action_space.names
        for name, values in zip(names, episode.actions.T, strict=True):
            self._send([folder, "action", name], steps, rr.Scalars.columns(scalars=values.astype(float)))
        if episode.proprio is not None:
            for name, values in zip(self._source.proprio_names, episode.proprio.T, strict=True):
                self._send([folder, "proprio", name], steps, rr.Scalars.columns(scalars=values.astype(float)))

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._recording.flush()
        self._recording.disconnect()

    def _send(self, entity: list[str], steps: np.ndarray, columns: Any) -> None:
        rr = self._rerun
        times = steps / self._source.action_space.control_hz
        timelines = [rr.TimeColumn("step", sequence=steps), rr.TimeColumn("time", duration=times)]
        self._recording.send_columns(rr.new_entity_path(entity), indexes=timelines, columns=columns)
