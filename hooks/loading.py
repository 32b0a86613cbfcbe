"""Load a model and its processor through transformers' Auto classes, with or without torchvision, trained or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from commandline import InputError, first_line

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

ImageBackend = Literal["pil", "torchvision"]


@dataclass(frozen=True)
class Loaded:
    """A model ready for forward passes (evaluation mode, no gradients) and what makes its inputs of images and text."""

    model: torch.nn.Module
    processor: Any
    """Images and text to inputs; None for a language model without vision."""
    tokenizer: PreTrainedTokenizerBase
    source: str
    """The directory or hub id it came from."""
    revision: str | None
    """The hub commit; None for a directory."""
    image_backend: ImageBackend
    """What resizes images: PIL's and torchvision's pixels differ slightly, so the choice is recorded."""
    random_init: bool

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())


def load(
    source: str | Path,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    revision: str | None = None,
    random_init: bool = False,
    seed: int = 0,
    trust_remote_code: bool = False,
    image_backend: ImageBackend = "pil",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> Loaded:
    """Load `source`, a directory written by `save_pretrained` or a hub id: a vision-language model, or a causal LM.

    Args:
        device: "auto" is the first GPU if there is one; otherwise anything `torch.device` takes.
        dtype: "auto" is the checkpoint's own on a GPU, and float32 on a CPU, where half precision is slow.
        random_init: the same architecture with untrained weights drawn from `seed`: a control for what probes find.
        image_backend: "pil" works everywhere; "torchvision" needs it installed.
        min_pixels, max_pixels: the budget of image processors that resize to one; None leaves the checkpoint's.

    Raises:
        InputError: the source does not exist, is not a model transformers knows, or the device is not there.
    """
    import torch
    from safetensors import SafetensorError

    name = source_name(source)
    config = load_config(name, revision=revision, trust_remote_code=trust_remote_code)
    auto = auto_class(name, config)
    where = device_named(device)
    if isinstance(dtype, str) and dtype == "auto":
        kind = config_dtype(config) if where.type != "cpu" else torch.float32
    else:
        kind = dtype_named(dtype)
    processor = load_processor(
        name,
        revision=revision,
        trust_remote_code=trust_remote_code,
        image_backend=image_backend,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        config=config,
    )
    if random_init:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = auto.from_config(config, dtype=kind, trust_remote_code=trust_remote_code)
    else:
        try:
            model = auto.from_pretrained(
                name, config=config, dtype=kind, revision=revision, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"{name}: its weights cannot be loaded: {first_line(error)}") from error
    sees = is_image_text(config)
    return Loaded(
        model=model.to(where).eval().requires_grad_(False),
        processor=processor if sees else None,
        tokenizer=processor.tokenizer if sees else processor,
        source=name,
        revision=getattr(config, "_commit_hash", None) or revision,
        image_backend=image_backend,
        random_init=random_init,
    )


def load_config(source: str, *, revision: str | None = None, trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's configuration alone. Raises InputError when the source is no model directory and no known hub id."""
    from transformers import AutoConfig

    source = source_name(source)
    path = Path(source)
    if path.exists() and not (path / "config.json").is_file():
        raise InputError(f"{source}: no config.json in it; give a directory written by save_pretrained, or a hub id")
    # A hub id is `owner/name`; where `owner` is a folder here, a mistyped path is meant.
    deep = len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.is_dir())
    if not path.exists() and (path.is_absolute() or source.startswith(".") or deep):
        raise InputError(f"{source}: no such directory; give a model directory or a hub id such as Qwen/Qwen2.5-VL-7B")
    try:
        return AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        if path.exists():
            raise InputError(f"{source}: its config.json cannot be read: {first_line(error)}") from error
        raise InputError(
            f"{source}: no such directory, and not to be had from the hub or its cache ({first_line(error)}); "
            "check the spelling and the network"
        ) from error


def source_name(source: str | Path) -> str:
    """A directory with `~` written out; a hub id as it is."""
    return str(Path(source).expanduser()) if str(source).startswith("~") else str(source)


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
    """The processor of a vision-language model (no weights are read), or the tokenizer of a language model.

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
    try:
        if not is_image_text(config):
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


def dtype_named(dtype: str | torch.dtype) -> torch.dtype:
    """`torch.float32` for "float32", and so on. Raises InputError for a name torch does not have."""
    import torch

    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"dtype {dtype!r} is not known; use auto, float32, bfloat16 or float16")
    return found


def device_named(device: str) -> torch.device:
    """The torch device; "auto" is the first GPU if there is one, else the CPU. Raises InputError if it is not there."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is not known to torch; use auto, cpu, cuda or cuda:N") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    return found


def config_dtype(config: PretrainedConfig) -> torch.dtype:
    """The dtype the checkpoint was saved in; float32 where it does not say."""
    import torch

    dtype = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    return dtype_named(dtype) if dtype is not None else torch.float32


def is_image_text(config: PretrainedConfig) -> bool:
    """Whether the configuration is a vision-language model's."""
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or "AutoModelForImageTextToText" in (
        getattr(config, "auto_map", None) or {}
    )


def auto_class(source: str, config: PretrainedConfig) -> Any:
    """The Auto class that builds this configuration. Raises InputError when it is no model with a language model."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

    if is_image_text(config):
        return AutoModelForImageTextToText
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in (
        getattr(config, "auto_map", None) or {}
    ):
        return AutoModelForCausalLM
    raise InputError(
        f"{source}: {type(config).__name__} is neither an image-text-to-text model nor a causal language model of the "
        "installed transformers; if its code is on the hub, add trust_remote_code after reading it"
    )
