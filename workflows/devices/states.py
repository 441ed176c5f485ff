"""The statuses of a device (a terminal) and the transitions between them."""

from enum import StrEnum

from workflows.state_machine import StateMachine, Transition


class DeviceStatus(StrEnum):
    PENDING_ACTIVATION = "pending_activation"  # registered; has no key yet
    ACTIVE = "active"  # can call
    SUSPENDED = "suspended"  # cannot call until it is resumed
    DEACTIVATED = "deactivated"  # can never call again


class DeviceEvent(StrEnum):
    ACTIVATE = "activate"
    SUSPEND = "suspend"
    RESUME = "resume"
    DEACTIVATE = "deactivate"


class DeviceRemark(StrEnum):
    OFFER_KEY = "offer_key"  # a code for a new key was generated; the current key is valid until that code is used
    REPLACE_KEY = "replace_key"  # the device was activated again: its previous key and tokens became invalid


HAS_KEY = (DeviceStatus.ACTIVE, DeviceStatus.SUSPENDED)
"""Statuses in which an activation replaces the key and does not change the status."""

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
    remarks=tuple(DeviceRemark),
)
