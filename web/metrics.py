"""Prometheus metrics: the requests of this process, and the figures of the whole service from Redis."""

from collections.abc import Iterator
from time import perf_counter

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.jobs.record import ENDED, Lane
from shared.services import Services


def install(app: Flask, services: Services) -> CollectorRegistry:
    """Count every request of `app`, by route and status, and add the service-wide figures."""
    registry = CollectorRegistry()
    registry.register(_ServiceCollector(services))
    requests = Counter("sakuga_http_requests", "Requests handled", ["method", "route", "status"], registry=registry)
    seconds = Histogram("sakuga_http_request_seconds", "Response time", ["route"], registry=registry)

    def start() -> None:
        g.started = perf_counter()

    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "unmatched"
        method = request.method if request.method in _METHODS else "other"
        requests.labels(method, route, response.status_code).inc()
        seconds.labels(route).observe(perf_counter() - g.started)
        return response

    app.before_request(start)
    app.after_request(count)
    return registry


_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


class _ServiceCollector(Collector):
    """Reads the figures in Redis when it is scraped; every web process reports the same."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        lanes, processes = self._services.lanes, self._services.workers.count()
        waiting = GaugeMetricFamily("sakuga_queue_jobs", "Queued jobs", labels=["lane"])
        megapixels = GaugeMetricFamily("sakuga_queue_megapixels", "Queued megapixels", labels=["lane"])
        for lane in Lane:
            stats = lanes.stats(lane)
            waiting.add_metric([lane], stats.jobs)
            megapixels.add_metric([lane], stats.megapixels)
        yield from (waiting, megapixels)
        yield GaugeMetricFamily("sakuga_worker_processes", "Warm worker processes", value=processes)
        yield from self._totals()

    def _totals(self) -> Iterator[Metric]:
        totals = self._services.totals.read()
        submitted = totals.get("jobs_submitted", 0)
        yield CounterMetricFamily("sakuga_jobs_submitted", "Jobs accepted", value=submitted)
        ended = CounterMetricFamily("sakuga_jobs_ended", "Finished jobs, by final state", labels=["state"])
        for state in sorted(ENDED):
            ended.add_metric([state], totals.get(f"jobs_{state}", 0))
        yield ended
        stages = CounterMetricFamily("sakuga_stage_seconds", "Time spent, by stage", labels=["stage"])
        for name, value in totals.items():
            if name.startswith("seconds_"):
                stages.add_metric([name.removeprefix("seconds_")], value)
        yield stages
