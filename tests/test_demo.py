from pathlib import Path

from robovlms.config import flatten, load_config
from robovlms.demo import EPISODES_TO_LEARN, FIRST_UNSEEN_SEED, demo_config

OWN = ("data.path", "train.out", "train.seed", "evaluate.tasks", "evaluate.seed", "evaluate.workers")


def test_the_demo_is_the_published_configuration(repository: Path) -> None:
    """`robovlms demo` works without the repository, so it says its values itself; they are the file's."""
    published = flatten(load_config(repository / "configs" / "metaworld" / "tiny_one_step.yaml"))
    demo = flatten(demo_config(Path("runs/demo"), seed=3, workers=4))
    assert {key: value for key, value in demo.items() if key not in OWN} == {
        key: value for key, value in published.items() if key not in OWN
    }
    assert demo["train.seed"] == 3


def test_the_demo_is_tried_on_layouts_that_it_has_not_seen() -> None:
    config = demo_config(Path("runs/demo"), seed=5, workers=2)
    tried = range(config.evaluate.seed, config.evaluate.seed + config.evaluate.episodes)
    learned = range(5, 5 + 5 * EPISODES_TO_LEARN)  # more than collection may ever try
    assert not set(tried) & set(learned)
    assert config.evaluate.seed == FIRST_UNSEEN_SEED + 5
