mod agreement;
mod attacks;
mod counting;
mod measured;
mod memories;
mod messages;
mod rules;
mod world;
