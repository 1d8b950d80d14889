"""Where the base is in odom: by the map, and by a guess where that does not tell. No ROS here."""

from __future__ import annotations

from alike_ros.geometry import Array, inverse, transform
from alike_ros.nodes.anchor import Anchor, move_covariance
from alike_ros.nodes.scale import Scale
from alike_ros.odometry.estimate import Estimate, Status


class Placement:
    """Places maps in the odom frame, in metres where they can be known.

    The guess is the pose of the base by another odometry (wheels), guess_from_base. It carries the
    base where the odometry does not see how it moves, and to where the next map begins.
    """

    def __init__(self, odom_from_base: Array) -> None:
        self._anchor = Anchor(odom_from_base)
        self._scale = Scale()
        self._guess: Array | None = None  # when the base was last where it is
        self._is_placed = False  # the map is where the base was carried to

    @property
    def odom_from_base(self) -> Array:
        """Where the base was seen last, or carried since."""
        return self._anchor.odom_from_base

    @property
    def is_metric(self) -> bool:
        """Mono: whether the guess has told the unit of length."""
        return self._scale.known

    def start_map(self) -> None:
        """The base is at the origin of a new odometry's map."""
        self.new_map()
        self._anchor.new_map()

    def new_map(self) -> None:
        """The odometry begins another map, in the world of the one before."""
        self._scale.new_map()
        self._is_placed = False

    def forget_guess(self) -> None:
        """What the guess says next has nothing to do with what it said."""
        self._guess = None

    def set_pose(self, odom_from_base: Array, covariance: Array, seen: bool) -> None:
        """The base is there; covariance (6, 6) in its axes. Not seen: at the next pose."""
        self._anchor.set_pose(odom_from_base, covariance, seen)
        self._guess = None
        self._is_placed = self._is_placed and seen

    def carry_on(self, guess_from_base: Array | None, status: Status) -> bool:
        """Moves the base by the guess where the odometry does not see it; whether it did."""
        # the first pose of a map does not tell how the base came there
        seen = status == Status.TRACKING and self._is_placed
        before = self._guess
        if seen or guess_from_base is not None:
            self._guess = guess_from_base
        if seen or before is None or guess_from_base is None:
            return False
        self._anchor.move(inverse(before) @ guess_from_base)
        return True

    def locate(
        self, estimate: Estimate, base_from_cam: Array, is_carried: bool
    ) -> tuple[Array, Array | None]:
        """odom_from_base, and its covariance in the base's axes.

        A new map is put where the guess has carried the base meanwhile.
        """
        map_from_base = self._map_from_base(estimate, base_from_cam)
        if not self._is_placed and self._guess is not None:
            self._anchor.hold(map_from_base)
        self._is_placed = True
        covariance = self.in_base(estimate.covariance, base_from_cam)
        return self._anchor.locate(map_from_base, covariance, seen=not is_carried)

    def in_base(self, covariance: Array | None, base_from_cam: Array) -> Array | None:
        """A covariance of the camera's pose in the map -> of the base's, in metres."""
        if covariance is None:
            return None
        return move_covariance(base_from_cam, self._scale.covariance(covariance))

    def measure_scale(
        self, estimate: Estimate, base_from_cam: Array, guess_from_base: Array
    ) -> None:
        """Mono: the guess tells the unit of length; a new one does not move the base."""
        if estimate.world_from_cam is None or estimate.status != Status.TRACKING:
            return
        guess_from_cam = guess_from_base @ base_from_cam
        if self._scale.add(estimate.world_from_cam[:3, 3], guess_from_cam[:3, 3]):
            self._anchor.hold(self._map_from_base(estimate, base_from_cam))

    def in_odom(self, points_in_world: Array, base_from_cam: Array) -> Array:
        """Landmarks (L, 3) of the odometry's world in odom."""
        odom_from_world = self._anchor.odom_from_map @ base_from_cam
        return transform(odom_from_world, self._scale.metres_per_unit * points_in_world)

    def _map_from_base(self, estimate: Estimate, base_from_cam: Array) -> Array:
        assert estimate.world_from_cam is not None
        world_from_cam = self._scale.pose(estimate.world_from_cam)
        return base_from_cam @ world_from_cam @ inverse(base_from_cam)
