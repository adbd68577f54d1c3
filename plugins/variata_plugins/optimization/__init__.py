"""How parameters move: torch's optimisers by name, and schedules for any number that may change during training."""

from variata import Component, hookimpl


@hookimpl
def variata_components() -> list[Component]:
    """Optimisers and schedules."""
    here = "variata_plugins.optimization"
    return [
        Component(
            "optimizer", "adam", f"{here}.optimizers:Adam", "Adam (Kingma and Ba, 2015), fused where torch has it"
        ),
        Component("optimizer", "adamw", f"{here}.optimizers:AdamW", "Adam with decoupled weight decay"),
        Component("optimizer", "rmsprop", f"{here}.optimizers:RMSprop", "RMSprop"),
        Component("optimizer", "sgd", f"{here}.optimizers:SGD", "Stochastic gradient descent with momentum"),
        Component("schedule", "constant", f"{here}.schedules:Constant", "One value"),
        Component("schedule", "linear", f"{here}.schedules:Linear", "A straight line, then its end value"),
        Component("schedule", "cosine", f"{here}.schedules:Cosine", "Half a cosine, then its end value"),
        Component("schedule", "cyclic", f"{here}.schedules:Cyclic", "Repeated ramps"),
        Component("schedule", "warmup", f"{here}.schedules:Warmup", "A rise to another schedule or value"),
    ]
