"""The life of a device (a terminal)."""

from enum import StrEnum

from workflows.machine import StateMachine, Transition


class DeviceStatus(StrEnum):
    PENDING_ACTIVATION = "pending_activation"  # registered; has no key yet
    ACTIVE = "active"  # may call
    SUSPENDED = "suspended"  # may not call until it is resumed
    DEACTIVATED = "deactivated"  # may never call again


class DeviceEvent(StrEnum):
    ACTIVATE = "activate"
    SUSPEND = "suspend"
    RESUME = "resume"
    DEACTIVATE = "deactivate"


DEVICE = StateMachine(
    name="device",
    initial=(DeviceStatus.PENDING_ACTIVATION,),
    transitions=(
        Transition(DeviceStatus.PENDING_ACTIVATION, DeviceEvent.ACTIVATE, DeviceStatus.ACTIVE),
        Transition(DeviceStatus.ACTIVE, DeviceEvent.SUSPEND, DeviceStatus.SUSPENDED),
        Transition(DeviceStatus.SUSPENDED, DeviceEvent.RESUME, DeviceStatus.ACTIVE),
        Transition(DeviceStatus.PENDING_ACTIVATION, DeviceEvent.DEACTIVATE, DeviceStatus.DEACTIVATED),
        Transition(DeviceStatus.ACTIVE, DeviceEvent.DEACTIVATE, DeviceStatus.DEACTIVATED),
        Transition(DeviceStatus.SUSPENDED, DeviceEvent.DEACTIVATE, DeviceStatus.DEACTIVATED),
    ),
)
