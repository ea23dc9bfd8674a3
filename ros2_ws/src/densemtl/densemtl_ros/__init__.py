"""The ROS 2 side of DenseMTL: camera images in, semantic, depth, normal and edge images out."""
