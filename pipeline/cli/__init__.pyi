from .entry import cli as cli
from .entry import main as main
from .start import run as run
