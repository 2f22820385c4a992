"""Logging: structlog, one event a line on standard error, as JSON or for people."""

import logging
import sys

import structlog

from telewarden_supervisors import (
    BackingOff,
    BeatMissed,
    ChildFailed,
    ChildReady,
    ChildRestarted,
    Escalated,
    Event,
    GaveUp,
    Stuck,
)


def configure(level: str, format_: str) -> None:
    """Send this package's log, and that of the libraries from warnings on, to standard error.

    level: a name of the standard library's. format_: "json" or "console".
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if format_ == "json"
        # Plain tracebacks: the pretty ones show local variables, and those hold keys and passwords.
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        # Not cached: the level may be changed while it runs.
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(number, logging.WARNING))
    # Telethon warns of every lost connection, which the listener reports in its own words.
    logging.getLogger("telethon").setLevel(logging.ERROR)


def log_supervision(event: Event) -> None:
    """One line for each transition that an operator wants to know of."""
    log = structlog.get_logger("telewarden.supervision")
    match event:
        case ChildReady():
            log.info("worker_ready", worker=event.path, after_s=round(event.after_s, 3))
        case ChildFailed():
            causes = [f"{type(leaf).__name__}: {leaf}" for leaf in event.leaves]
            log.error("worker_failed", worker=event.path, causes=causes, exc_info=event.cause)
        case BackingOff():
            log.info("worker_backing_off", worker=event.path, delay_s=round(event.delay_s, 3))
        case ChildRestarted():
            log.info("worker_restarted", worker=event.path, instance=event.instance)
        case BeatMissed():
            log.error(
                "worker_hangs", worker=event.path, age_s=round(event.age_s, 1), stack="\n".join(event.stack)
            )
        case Stuck():
            log.critical("worker_stuck", worker=event.path, stack="\n".join(event.stack))
        case GaveUp():
            log.critical("supervisor_gave_up", supervisor=event.supervisor, reason=event.reason)
        case Escalated():
            log.critical("supervisor_escalated", supervisor=event.supervisor, stuck=event.stuck)
        case _:
            pass
