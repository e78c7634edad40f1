mod agreement;
mod attacks;
mod counting;
mod memories;
mod messages;
mod rules;
mod world;
