"""gunicorn with two workers of four threads. An op is a request."""

import gunicorn.app.base
import load
import workload


class Application(gunicorn.app.base.BaseApplication):
    def __init__(self, listener):
        self.listener = listener
        super().__init__()

    def load_config(self):
        settings = {"workers": 2, "threads": 4, "worker_class": "gthread", "loglevel": "warning"}
        for name, value in dict(settings, bind="fd://%d" % self.listener.fileno()).items():
            self.cfg.set(name, value)

    def load(self):
        return load.wsgi


load.on(lambda listener: Application(listener).run(), workload.options(__doc__))
