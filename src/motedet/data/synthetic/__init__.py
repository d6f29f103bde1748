"""Tiny objects in aerial-like scenes, made up from a seed: for first runs, demos and tests.

Vehicles, ships and storage tanks with the sizes of AI-TOD on textured ground, among houses, trees,
sheds, bales, buoys and other things that look alike and are not labelled.
"""

from motedet.data.synthetic.folder import write_scenes
from motedet.data.synthetic.scene import CLASSES, Scene, SceneSpec, make_scene
from motedet.data.synthetic.sizes import SizeDistribution

__all__ = ["CLASSES", "Scene", "SceneSpec", "SizeDistribution", "make_scene", "write_scenes"]
