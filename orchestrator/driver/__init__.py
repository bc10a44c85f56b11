"""One sweep from its opened folder to its report: session, search under Ray Tune, journal listeners, what stops it."""
