"""A model's processor through transformers' Auto classes, with or without torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from commandline import InputError, first_line
from hooks.configs import load_config, model_kind, source_name

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ImageBackend = Literal["pil", "torchvision"]


def load_processor(
    source: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    image_backend: ImageBackend = "pil",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    config: PretrainedConfig | None = None,
) -> Any:
    """What makes a model's inputs: the processor of a model of images and text, the image processor of one of images
    alone, the tokenizer of a language model. No weights are read.

    transformers builds the processor of a model that also takes video only where torchvision is installed. Images need
    none of that, so here such a processor is assembled without its video half.
    """
    from transformers import AutoImageProcessor, AutoTokenizer
    from transformers.utils.import_utils import is_torchvision_available

    if image_backend == "torchvision" and not is_torchvision_available():
        # transformers itself would go on with PIL and a warning.
        raise InputError("image_backend=torchvision needs torchvision, which is not installed; install it or use pil")
    source = source_name(source)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = config or load_config(source, **options)
    kind = model_kind(source, config)
    try:
        if kind == "text":
            return AutoTokenizer.from_pretrained(source, **options)
        budget = {key: n for key, n in (("min_pixels", min_pixels), ("max_pixels", max_pixels)) if n is not None}
        image_processor = AutoImageProcessor.from_pretrained(source, backend=image_backend, **options, **budget)
        if unknown := budget.keys() - image_processor.valid_kwargs.__annotations__.keys():
            raise InputError(
                f"{source}: {type(image_processor).__name__} has no pixel budget, so {', '.join(sorted(unknown))} "
                "cannot be set; leave it out"
            )
        return _assemble(source, config, image_processor, options)
    except ImportError as error:
        raise InputError(f"{source}: its processor needs a package that is missing: {first_line(error)}") from error
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{source}: its processor cannot be loaded: {first_line(error)}") from error


def _assemble(source: str, config: PretrainedConfig, image_processor: Any, options: dict[str, Any]) -> Any:
    """transformers' own processor class around `image_processor`, without a video processor where it would have one."""
    from transformers import PROCESSOR_MAPPING, AutoProcessor

    cls: Any = PROCESSOR_MAPPING.get(type(config), None)
    if cls is None and model_kind(source, config) == "vision":
        return image_processor
    if cls is None or "video_processor" not in cls.get_attributes():
        processor = AutoProcessor.from_pretrained(source, **options)
        processor.image_processor = image_processor
        return processor

    class ImageOnly(cls):
        @classmethod
        def _get_arguments_from_pretrained(cls, path: str, processor_dict: Any = None, **kwargs: Any) -> list[Any]:
            parts = {"image_processor": image_processor, "video_processor": None}
            return [
                parts[name] if name in parts else cls._load_tokenizer_from_pretrained(name, path, **kwargs)
                for name in cls.get_attributes()
            ]

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor" and argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

    ImageOnly.__name__ = ImageOnly.__qualname__ = cls.__name__
    return ImageOnly.from_pretrained(source, **options)
