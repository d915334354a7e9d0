"""What is wrong with the guard's values, each as a sentence that says what to write instead."""

from decimal import Decimal

from ibloop.core.guard import GuardLimits

EVALUATION_S_MAX = 60.0


def guard_problems(guard: GuardLimits) -> list[str]:
    """Return a sentence for every value of the guard that cannot be meant, alone or beside another.

    The loss limits themselves are judged with the limits of orders (``rules``).
    """
    positive: dict[str, float | Decimal] = {
        "warn_fraction": guard.warn_fraction,
        "order_failures_max": guard.order_failures_max,
        "order_failures_minutes": guard.order_failures_minutes,
        "data_refusals_max": guard.data_refusals_max,
        "stream_errors_max": guard.stream_errors_max,
        "stream_degraded_fraction_max": guard.stream_degraded_fraction_max,
        "flow_fraction_max": guard.flow_fraction_max,
        "evaluation_s": guard.evaluation_s,
        "price_jump_fraction": guard.price_jump_fraction,
        "price_confirmations": guard.price_confirmations,
        "price_missing_s_max": guard.price_missing_s_max,
        "drop_copy_s": guard.drop_copy_s,
        "drop_copy_grace_s": guard.drop_copy_grace_s,
    }
    problems = [f"guard.{name} must be positive" for name, value in positive.items() if value <= 0]
    year, release = guard.year_drawdown_kill, guard.reduce_only_release
    fractions = {
        "warn_fraction": guard.warn_fraction,
        "price_jump_fraction": guard.price_jump_fraction,
        "stream_degraded_fraction_max": guard.stream_degraded_fraction_max,
        "flow_fraction_max": guard.flow_fraction_max,
        "year_drawdown_kill": year if year is not None else Decimal(1),
    }
    problems += [
        f"guard.{name} is a fraction of 1, was {value}"
        for name, value in fractions.items()
        if value > 1
    ]
    if year is not None and year <= 0:
        problems.append("guard.year_drawdown_kill must be positive; leave it out to measure none")
    if release is not None and release >= guard.day_loss_reduce_only:
        problems.append("guard.reduce_only_release must be below guard.day_loss_reduce_only")
    if not guard.evaluation_s <= guard.evaluation_closed_s <= EVALUATION_S_MAX:
        problems.append(
            "guard.evaluation_closed_s must be from guard.evaluation_s to "
            f"{EVALUATION_S_MAX:g}: the guard must not sleep through the open"
        )
    return problems
