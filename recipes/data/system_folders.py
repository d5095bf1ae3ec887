"""What systems and tools leave beside the images: no class, no image, and nothing to tell the user of."""

# In lower case. Whatever begins with a dot is left out by that alone (.DS_Store, .Trashes, .ipynb_checkpoints, ...).
_LEFT = {
    "__macosx",  # archives made on macOS: resource forks
    "network trash folder",  # macOS, on network volumes
    "temporary items",
    "thevolumesettingsfolder",
    "thumbs.db",  # Windows Explorer: previews and settings of a folder
    "ehthumbs.db",
    "desktop.ini",
    "$recycle.bin",  # Windows: bins and restore points in the root of a drive
    "recycler",
    "system volume information",
    "lost+found",  # ext file systems: what a check of the disk saved
    "@eadir",  # Synology: previews beside every folder
    "#recycle",  # Synology: bin, snapshots
    "#snapshot",
    "@recycle",  # QNAP: bin, snapshots, previews
    "@recently-snapshot",
    "@__thumb",
    "__pycache__",  # Python
}


def is_left_by_system(name: str) -> bool:
    """Whether the name of a file or folder is one that systems leave."""
    return name.startswith(".") or name.lower() in _LEFT
