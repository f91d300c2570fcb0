"""Who hears of trouble: what counts as trouble, and the ways to tell.

`assess` judges what lasts, `tell` brings what is untold to the channels of `channels`, `digest`
sums a day up, `watching` does all three again and again. What a run finds out is written
down by `pipeline.alarms`, what deliveries find out by `pipeline.outcomes` and `reaching`.
"""

from fetchd.alerting.watching import after_round, watch_alerts

__all__ = ["after_round", "watch_alerts"]
