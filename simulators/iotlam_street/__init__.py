"""A SUMO world whose junctions carry sensors: LiDAR, cameras and radars."""
