"""Classes of CIFAR-100 that stand in for an unknown data set, by the names of the paper that chose them.

Reference:
    Sanyal et al., Towards Data-Free Model Stealing in a Hard Label Setting, CVPR 2022 (DFMS): proxy images for
    victims of CIFAR-10, with which neither list shares a class.
"""

from lightning_extract.errors import InputError

# All classes of eight super-classes.
CIFAR100_40_CLASSES = (
    *("orchid", "poppy", "rose", "sunflower", "tulip"),  # flowers
    *("bottle", "bowl", "can", "cup", "plate"),  # food containers
    *("apple", "mushroom", "orange", "pear", "sweet_pepper"),  # fruit and vegetables
    *("clock", "keyboard", "lamp", "telephone", "television"),  # household electrical devices
    *("bed", "chair", "couch", "table", "wardrobe"),  # household furniture
    *("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),  # trees
    *("bridge", "castle", "house", "road", "skyscraper"),  # large man-made outdoor things
    *("cloud", "forest", "mountain", "plain", "sea"),  # large natural outdoor scenes
)
CIFAR100_10_CLASSES = (
    *("plate", "rose", "castle", "keyboard", "house"),
    *("forest", "road", "television", "bottle", "wardrobe"),
)

PROXY_CLASSES = {"dfms_40": CIFAR100_40_CLASSES, "dfms_10": CIFAR100_10_CLASSES}
PROXY_POOL = "cifar100"


def expand_proxy_classes(pool: str, wanted: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The classes behind a short name of :data:`PROXY_CLASSES`; any other choice as it is.

    Raises:
        InputError: A short name stands beside other classes, or the pool is another.
    """
    short = [name for name in wanted if name in PROXY_CLASSES]
    if not short:
        return wanted
    if pool != PROXY_POOL:
        raise InputError(
            f"pool_classes is {list(wanted)}, and {short[0]} stands for classes of {PROXY_POOL}, but pool is {pool!r}; "
            f"set pool to {PROXY_POOL} or name classes of {pool!r}"
        )
    if len(wanted) > 1:
        raise InputError(
            f"pool_classes is {list(wanted)}, but {short[0]} is a whole list; give it alone, or the classes one by one"
        )
    return PROXY_CLASSES[str(short[0])]
