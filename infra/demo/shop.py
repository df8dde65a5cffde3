"""`python -m infra.demo.shop`: the demo's story on a Headgate that runs elsewhere, then traffic until it is
stopped. compose.yaml has one.

Kafka and ClickHouse are those of the settings; topics, tables and the policy are there, and two workers serve
the demo's models. Where the story has been told already, only the shop opens.
"""

import time

import clickhouse_connect
from rich.console import Console

from infra.demo import models, movielens, run, visits
from infra.demo.live import Screen
from infra.demo.observer import Observer
from infra.demo.prepare import SEED
from infra.demo.producer import Shop
from schemas import settings as configuration
from schemas.settings import Settings
from streams.log import Output


def main(settings: Settings) -> None:
    """Ends only with an error: `DemoFailedError` where the loop does not do its part."""
    data = movielens.load(movielens.fetch())
    client = clickhouse_connect.get_client(**settings.clickhouse.connect())
    client.database = settings.clickhouse.database
    observer = Observer(settings, client, models.MODEL)
    # The ids of requests are drawn from the seed, and those of an earlier run are in the topics.
    shop = Shop(settings, models.MODEL, visits.replay(data, visits.FIRST, SEED), run.RATE, time.time_ns())
    observer.refresh()
    with Screen(Console(soft_wrap=True), observer, shop) as screen:
        if observer.current is None:
            story = run.Story(settings, Output(settings), observer, shop, screen)
            story.open()
            story.release(visits.replay(data, visits.SECOND, SEED))
        else:
            screen.say(f"{observer.current.stable} is stable; the shop opens again")
            shop.start()
        while shop.is_alive():
            observer.refresh()
            screen.show()
            time.sleep(1.0)
    raise run.DemoFailedError(f"the shop ended: {shop.failure!r}")


if __name__ == "__main__":
    main(configuration.load())
