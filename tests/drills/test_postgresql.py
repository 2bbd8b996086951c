"""The database that holds the copy of the study stops in the middle of a search, and comes back."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from optuna.trial import TrialState

from tests.drills.search import RATES, Search
from tests.drills.twin import follow
from tests.tuning.postgresql import server
from tuning.search.optuna_encoder import NUMBER
from tuning.watching.study_storage import database, parse_study_url

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(200)]


def test_postgresql_stops_and_starts(
    search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    with server() as found_server:
        found = search(RATES[:4])
        found.start("--study-url", found_server.url(), seconds=0.3)
        found.wait_for_epochs(2)
        found_server.stop()
        down = sum(t.epochs for t in found.trials())
        found.wait_for_epochs(down + 8)  # nobody waits for the database
        found_server.start()
        assert found.finish() == 0
        follow(found.events(), found.space())
        trials = found.trials()
        assert [t.retries for t in trials] == [0] * 4
        storage = database(parse_study_url(found_server.url()))
        study = optuna.load_study(study_name=found.directory.name, storage=storage)
        seen = {t.user_attrs[NUMBER]: t for t in study.trials if t.state != TrialState.FAIL}
        storage.remove_session()
        storage.engine.dispose()
    states = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    for trial in trials:
        assert seen[trial.number].state == states[trial.state]
        assert seen[trial.number].intermediate_values == trial.curve("val_rd_cost")
    lost("nothing; the copy has every epoch, those of the outage too")
