TARGETS = {}


def prepare(chosen):
    pass
