"""The engine: background work. Outbox delivery, schedules, the queue of pipeline runs, and the executors of steps.

A worker holds a run by lease and proves it by fence; a run whose worker dies is taken up by another, and its
finished steps are not run again.
"""
