"""What a resumed run may change is declared at each field."""

import dataclasses
import json

import pytest

from experiments.program.errors import ConfigError
from experiments.settings.config import Config
from experiments.settings.fields import groups_of
from experiments.settings.resume import check_same, decides_numbers, may_change, read_config
from jax_resnet._files import write_text
from tests.helpers.fuzz import damaged_by, damages, go_on


def settings_where(holds):
    return {f.name for _, group in groups_of(Config()) for f in dataclasses.fields(group) if holds(f)}


def test_no_state_of_the_training_depends_on_what_may_change():
    assert settings_where(may_change) == {
        *("workdir", "max_steps", "log_every", "eval_batch_size", "eval_every", "test_every"),
        *("checkpoint_minutes", "resume", "overwrite", "data_dir", "archive", "mirror", "workers"),
        *("parallel", "shard_params", "remat", "coordinator", "num_processes", "process_id"),
        *("threads", "compilation_cache"),
    }


def test_reported_numbers_depend_on_what_a_resumed_run_may_change():
    assert settings_where(lambda f: may_change(f) and decides_numbers(f)) == {"max_steps", "eval_every"}


@pytest.mark.slow
def test_a_minute_of_damage_to_the_settings(tmp_path):
    file = tmp_path / "config.json"
    whole = json.dumps({"config": dataclasses.asdict(Config())}).encode()

    def check(changes):
        file.write_bytes(damaged_by(whole, changes))
        config = read_config(file)
        if config is not None:
            config.check_without_jax()
            assert json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False))

    go_on(check, changes=damages())


def test_another_setting_is_refused_by_name(tmp_path):
    before = Config()
    write_text(tmp_path / "config.json", json.dumps({"config": dataclasses.asdict(before)}))
    check_same(before, tmp_path)
    auto = dataclasses.replace(before, model=dataclasses.replace(before.model, dtype="auto"))
    check_same(auto, tmp_path)
    other = dataclasses.replace(before, optim=dataclasses.replace(before.optim, momentum=0.8))
    with pytest.raises(ConfigError, match=r"was started with --momentum 0\.9, not 0\.8"):
        check_same(other, tmp_path)
