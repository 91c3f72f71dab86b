"""Files to arrays in time: video, optical flow, poses."""
