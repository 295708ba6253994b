"""Every error this program raises on purpose.

    StylecamError                 message, hint
    ├── StyleError                unknown style, corrupt or foreign weights file
    ├── PictureError              an image file that cannot be read or written
    ├── SourceError
    │   ├── SourceOpenError       a camera, film or URL that cannot be opened
    │   └── SourceLostError       it opened, then failed
    ├── EngineError
    │   ├── BackendMissingError   the library is not installed
    │   ├── DeviceUnavailableError  the device or precision asked for is not there
    │   └── InferenceError        the net could not be run on these frames
    │       └── OutOfMemoryError  a smaller batch or size may still fit
    ├── SinkError
    │   ├── SinkOpenError
    │   └── SinkWriteError
    ├── TrainError
    │   ├── DivergedError         the loss is not finite, or the output has gone flat
    │   └── DatasetEmptyError     no usable picture in the content folder
    ├── ControlError              a setting of a live run that is unknown or out of range
    ├── OptimiseError             the slow path cannot start or go on
    ├── VggError                  the perceptual net's weights are missing or altered
    └── ExportError
        └── ParityError           the exported file does not compute what the net does

Foreign exceptions are translated once, at the edge where they occur, with `from exc`.
"""

from __future__ import annotations


class StylecamError(Exception):
    """Carry what failed, with which value and why (`message`), and what to do (`hint`)."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[StylecamError], tuple[str, str]]:
        """Be the same in another process."""
        return type(self), (self.message, self.hint)


class StyleError(StylecamError):
    """A style that is unknown, or a weights file that is corrupt or not ours."""


class PictureError(StylecamError):
    """An image file that cannot be read or written."""


class SourceError(StylecamError):
    """Something went wrong where frames come from."""


class SourceOpenError(SourceError):
    """A camera, film or URL that cannot be opened."""


class SourceLostError(SourceError):
    """A source that opened and then failed."""


class EngineError(StylecamError):
    """Something went wrong where the net runs."""


class BackendMissingError(EngineError):
    """The backend's library is not installed."""


class DeviceUnavailableError(EngineError):
    """The device or precision that was asked for is not there."""


class InferenceError(EngineError):
    """The net could not be run on these frames."""


class OutOfMemoryError(InferenceError):
    """The device has too little memory for this batch; a smaller one may fit."""


class SinkError(StylecamError):
    """Something went wrong where frames go."""


class SinkOpenError(SinkError):
    """A window, file or stream that cannot be opened."""


class SinkWriteError(SinkError):
    """A sink that opened and then refused a frame."""


class ClusterError(StylecamError):
    """A cluster that cannot be reached, or has nobody to work."""


class TrainError(StylecamError):
    """Training cannot start or go on."""


class DivergedError(TrainError):
    """The loss is not finite, or the net's output has gone flat."""


class DatasetEmptyError(TrainError):
    """The content folder holds no usable picture."""


class ControlError(StylecamError):
    """A setting of a live run that is unknown, or a value that it cannot have."""


class OptimiseError(StylecamError):
    """A picture cannot be made by optimisation, or no further."""


class VggError(StylecamError):
    """The perceptual net's weights are missing or not the expected ones."""


class ExportError(StylecamError):
    """A net that cannot be written as a deployable file."""


class ParityError(ExportError):
    """An exported file whose output differs from the net's."""
